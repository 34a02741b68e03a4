"""Tests of how a digest shows downloaded and attached files.

Type, size, source, and how to get what is not attached.
"""

from __future__ import annotations

import io
import zipfile
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from lxml import html
from sqlalchemy import update

from pipeline.display.file_types import file_type
from pipeline.errors import SettingsError
from pipeline.languages import wording
from pipeline.mail.digests.build import build
from pipeline.store.database.schema import download_files, downloads
from pipeline.store.mail import digests
from tests.mail.conftest import NOW

BOOKS = {"1": {"title": "The Three-Body Problem", "price": "£12.50"}}


def mails(store, settings, *, slot="s1") -> list[EmailMessage]:
    claim = digests.claim(store, "morning", ["books"], slot, owner="test", now=NOW)
    result = build(store, settings, claim, owner="test", now=NOW)
    files = [store.files.path(f"messages/{claim.id}-{n}.eml").read_bytes() for n in range(1, len(result.message_ids) + 1)]
    found = [message_from_bytes(file, policy=policy.default) for file in files]
    assert all(isinstance(mail, EmailMessage) for mail in found)
    return found


def body(mail, kind="plain") -> str:
    return mail.get_body((kind,)).get_content().replace("\r\n", "\n")


def from_page(store, *, url="", referer="") -> None:
    """Write where the downloads come from as the crawl would have stored it."""
    with store.write() as connection:
        connection.execute(update(downloads).values(referer=referer))
        if url:
            connection.execute(update(download_files).values(url=url))


@pytest.mark.parametrize(("name", "sent", "english", "chinese", "german"), [
    ("report.pdf", "application/pdf", "PDF document", "PDF 文档", "PDF-Dokument"),
    ("report.PDF", "application/octet-stream", "PDF document", "PDF 文档", "PDF-Dokument"),
    ("report", "application/pdf; charset=binary", "PDF document", "PDF 文档", "PDF-Dokument"),
    ("a.zip", "application/x-zip-compressed", "ZIP archive", "ZIP 压缩包", "ZIP-Archiv"),
    ("a.tar.gz", "application/gzip", "GZIP archive", "GZIP 压缩包", "GZIP-Archiv"),
    ("table.xlsx", "application/zip", "Excel spreadsheet", "Excel 电子表格", "Excel-Tabelle"),
    ("x", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "Word document", "Word 文档", "Word-Dokument"),
    ("list.csv", "text/plain", "CSV table", "CSV 表格", "CSV-Tabelle"),
    ("photo.JPG", "", "JPEG picture", "JPEG 图片", "JPEG-Bild"),
    ("photo", "image/webp", "WebP picture", "WebP 图片", "WebP-Bild"),
    ("song.mp3", "audio/mpeg", "MP3 audio", "MP3 音频", "MP3-Audiodatei"),
    ("report.pdf", "text/html; charset=utf-8", "web page", "网页", "Webseite"),
    ("page.php", "text/html", "web page", "网页", "Webseite"),
    ("setup.exe", "application/octet-stream", "program or script", "程序或脚本", "Programm oder Skript"),
    ("model.step", "application/octet-stream", "STEP file", "STEP 文件", "STEP-Datei"),
    ("a.<b>", "x/y", "file", "文件", "Datei"),
    ("README", "", "file", "文件", "Datei"),
    ("a.jsonl", "", "JSON Lines data", "JSON Lines 数据", "JSON-Lines-Daten"),
])
def test_the_type_of_a_file_is_named_as_readers_call_it(name, sent, english, chinese, german) -> None:
    assert [file_type(name, sent, wording(language)) for language in ("en", "zh", "de")] == [english, chinese, german]


def test_a_download_shows_type_size_and_links_to_its_source(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]')
    site.run(BOOKS, files=[("report.pdf", b"%PDF", "application/pdf")])
    from_page(store, url="http://site.test/files/report.pdf?v=2", referer="http://site.test/reports/")
    mail, = mails(store, settings)
    assert "* report.pdf (PDF document · 4 B · attached)\n  http://site.test/files/report.pdf?v=2\n  found on: http://site.test/reports/\n" in body(mail)
    links = {link.text_content(): link.get("href") for link in html.fromstring(body(mail, "html")).iter("a")}
    assert links["report.pdf"] == "http://site.test/files/report.pdf?v=2"
    assert links["site.test/reports"] == "http://site.test/reports/"


@pytest.mark.parametrize(("url", "link"), [
    ("http://me:pa55word@site.test/a.pdf", "http://site.test/a.pdf"),
    ("http://site.test/a.pdf#token=pa55word", "http://site.test/a.pdf"),
    ("http://site.test/a.pdf?X-Amz-Signature=pa55word&v=1", None),
    ("http://site.test/a.pdf?" + "v=1&" * 80 + "access_token=pa55word", None),
    ("http://site.test/pa55word-of-the-settings/a.pdf", None),
    ("javascript:alert('pa55word')", None),
])
def test_no_link_to_a_file_contains_a_secret(url, link, store, site, settings_from, monkeypatch) -> None:  # noqa: PLR0917  pytest hands them in by name
    monkeypatch.setenv("SECRET", "pa55word-of-the-settings")
    settings = settings_from(mail='host = "mail.test"\nuser = "me"\npassword = { env = "SECRET" }\n')
    site.run(BOOKS, files=[("a.pdf", b"%PDF", "application/pdf")])
    from_page(store, url=url, referer=url)
    mail, = mails(store, settings)
    assert "pa55word" not in body(mail) + body(mail, "html")
    assert {each.get("href") for each in html.fromstring(body(mail, "html")).iter("a")} == ({link} if link else set())


def test_a_file_that_is_not_attached_has_a_link_to_the_pages_or_its_path(store, site, settings_from) -> None:
    for public_url, in_text in [("", "too large to attach · stored as downloads/books/{run}-größe 1.pdf in the data folder)"),
                                ("https://news.example", ("too large to attach)\n  http://site.test/{run}/0\n  open the stored file: "
                                 "https://news.example/files/downloads/books/{run}-gr%C3%B6%C3%9Fe%201.pdf"))]:
        heartbeat = f'[heartbeat]\npublic_url = "{public_url}/"\n' if public_url else ""
        settings = settings_from(digest=f'attach = ["downloads"]\nattach_limit = "1kB"\n{heartbeat}')
        run = site.run(BOOKS, files=[("größe 1.pdf", b"x" * 2000, "application/pdf")])
        mail, = mails(store, settings, slot=f"s{run.id}")
        assert in_text.format(run=run.id) in body(mail)
        links = [link.get("href") for link in html.fromstring(body(mail, "html")).iter("a")]
        assert [link for link in links if "/files/" in link] == ([f"https://news.example/files/downloads/books/{run.id}-gr%C3%B6%C3%9Fe%201.pdf"]
                                                                if public_url else [])


def test_a_table_that_is_too_large_has_a_link_to_the_pages(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv"]\nattach_limit = "100B"\n[heartbeat]\npublic_url = "http://192.168.1.5:8000"\n')
    site.run(BOOKS)
    mail, = mails(store, settings)
    link, = [link.get("href") for link in html.fromstring(body(mail, "html")).iter("a")]
    assert link == "http://192.168.1.5:8000/files/messages/1-morning-2026-11-22.csv.zip"
    with zipfile.ZipFile(store.files.path("messages/1-morning-2026-11-22.csv.zip")) as archive:
        assert archive.namelist() == ["morning-2026-11-22.csv"]


def test_sizes_are_written_as_in_the_language(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]\nlanguage = "de"')
    site.run(BOOKS, files=[("a.pdf", b"x" * 1234, "application/pdf")])
    mail, = mails(store, settings)
    assert "* a.pdf (PDF-Dokument · 1,2 kB · angehängt)" in body(mail)


def test_a_download_that_was_deleted_is_said_to_be_no_longer_stored(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]')
    run = site.run(BOOKS, files=[("a.pdf", b"%PDF", "application/pdf")])
    store.files.remove(f"downloads/books/{run.id}-a.pdf")
    mail, = mails(store, settings)
    assert "a.pdf (PDF document · 4 B · no longer stored)" in body(mail)


@pytest.mark.parametrize("oversize", ["list", "zip", "split"])
def test_the_names_of_attached_files_agree_with_the_list_of_each_mail(oversize, store, site, settings_from) -> None:
    settings = settings_from(digest=f'attach = ["csv", "xlsx", "jsonl", "downloads", "pages"]\noversize = "{oversize}"\nattach_limit = "9kB"')
    files = [("Bericht für Ö.pdf", b"%PDF", "application/pdf"), ("bericht für ö.pdf", b"%PDF 2", "application/pdf"),
             ("../a\u202etxt.pdf", b"%PDF 3", "application/pdf"), ("a" * 300 + ".pdf", b"%PDF 4", "application/pdf"),
             ("big.txt", b"x" * 20_000, "text/plain"), ("medium.txt", b"y" * 8000, "text/plain"), (".htaccess", b"x", "text/plain")]
    site.run({"1": BOOKS["1"], "2": BOOKS["1"]}, pages={"1": b"<h1>1</h1>", "2": b"<h1>2</h1>"})
    site.run(None, files=[(f"f{n}", content, kind) for n, (_, content, kind) in enumerate(files)])
    with store.write() as connection:
        for number, (name, _, _) in enumerate(files, 1):
            connection.execute(update(download_files).where(download_files.c.id == number).values(name=name))
    found = mails(store, settings)
    for mail in found:
        names = [part.get_filename() for part in mail.iter_attachments()]
        assert len(names) == len({name.casefold() for name in names})
        assert [name for name in names if f"* {name} (" not in body(mail)] == []
        assert [name for name in names if "/" in name or name.startswith(".") or len(name) > 120] == []
    assert len(found) == (2 if oversize == "split" else 1)
    attached = {part.get_filename(): part.get_content() for mail in found for part in mail.iter_attachments()}
    if oversize == "zip":
        with zipfile.ZipFile(io.BytesIO(attached["big.txt.zip"])) as archive:
            assert archive.namelist() == ["big.txt"]
    else:
        assert "big.txt (text · 20 kB · too large to attach · stored as" in body(found[0])


@pytest.mark.parametrize(("url", "problem"), [
    ("https://me:secret@news.example", "user name, a password"), ("https://news.example/?token=1", "a query"),
    ("https://news.example/pipeline", 'write "https://news.example"'), ("http://news.example", "must use https"),
    ("http://8.8.8.8:8000", "must use https"), ("news.example", "write https://news.example"),
])
def test_a_public_url_that_could_leak_the_token_is_refused(url, problem, settings_from) -> None:
    with pytest.raises(SettingsError, match=r"heartbeat\.public_url") as error:
        settings_from(digest=f'[heartbeat]\npublic_url = "{url}"\n')
    assert problem in str(error.value)


@pytest.mark.parametrize("url", ["https://news.example", "https://news.example:8443/", "http://10.0.0.7:8000", "http://nas:8000",
                                 "http://nas.local:8000", "http://127.0.0.1:8000", "http://[fd00::1]:8000"])
def test_https_and_local_public_urls_are_accepted(url, settings_from) -> None:
    settings = settings_from(digest=f'[heartbeat]\npublic_url = "{url}"\n')
    assert settings.heartbeat.file_url("a/b c") == f"{url.rstrip('/')}/files/a/b%20c"
