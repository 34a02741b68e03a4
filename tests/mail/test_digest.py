"""Tests of digests from claimed runs to the delivered mail, every part parsed again."""

from __future__ import annotations

import csv
import email
import io
import json
import re
import tracemalloc
import zipfile
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP, default

import pytest

from pipeline.errors import LeaseLostError, UsageError
from pipeline.mail.digests.build import BuiltDigest, build
from pipeline.mail.digests.preview import preview
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.model import ChangeKind, Outcome, Reject
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW, built, claimed, text_of
from tests.mail.html_features import JUDGED, features_of
from tests.servers.smtp import SmtpServer

BOOK = {"title": "A Light in the Attic", "price": "£51.77", "url": "https://books.test/1"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


def mail_of(store, result: BuiltDigest) -> EmailMessage:
    message_id, = result.message_ids
    message, _, _ = stored.get(store, message_id)
    return email.message_from_bytes(store.files.path(message.file_key).read_bytes(), policy=default)


def test_the_delivered_mail_is_the_rendered_one_with_attachments_and_names(store, site, settings_from, clock) -> None:
    settings = settings_from(digest='attach = ["csv", "downloads"]\nlanguage = "zh"', to='["收件人 <me@example.com>", "b@example.com"]')
    site.run({"1": {"title": "三体", "价格": "¥93.00"}}, files=[("价目表 2026.png", PNG, "image/png"),
                                                              ("empty.txt", b"", "text/plain; charset=utf-8"),
                                                              ("a.html", b"<p>\n.\n</p>", "text/html")])
    built(store, settings)
    with SmtpServer() as server:
        transport = SmtpTransport("127.0.0.1", server.port, security="none", timeout_s=5)
        deliver_due(store, transport, owner="me", now=clock, policy=RetryPolicy(1e6))
        transport.close()
        got, = server.wait_for(1)
    assert got.content == store.files.path("messages/1-1.eml").read_bytes()
    assert set(got.recipients) == {"me@example.com", "b@example.com"}
    assert all(len(line) <= 998 and line.isascii() for line in got.content.split(b"\r\n"))
    mail = email.message_from_bytes(got.content, policy=default)
    assert mail["Subject"] == "新增：三体，¥93.00；下载 3 个文件"
    assert [str(a) for a in mail["To"].addresses] == ["收件人 <me@example.com>", "b@example.com"]
    assert "价格：¥93.00" in text_of(mail)
    page = store.files.path("messages/1-1.html").read_text("utf-8")
    assert text_of(mail, "html").replace("\r\n", "\n").rstrip("\n") == page.rstrip("\n")
    parts = {part.get_filename(): part for part in mail.iter_attachments()}
    assert list(parts) == ["morning-2026-11-22.csv", "价目表 2026.png", "empty.txt", "a.html"]
    assert parts["价目表 2026.png"].get_payload(decode=True) == PNG
    assert parts["empty.txt"].get_payload(decode=True) == b""
    assert parts["a.html"].get_payload(decode=True) == b"<p>\n.\n</p>"
    assert {part.get_content_disposition() for part in parts.values()} == {"attachment"}
    assert parts["价目表 2026.png"].get_content_type() == "image/png"


def test_the_headers_mark_an_automatic_message(store, site, settings_from) -> None:
    settings = settings_from(mail='reply_to = "Me <me@example.com>"')
    site.run({"1": BOOK})
    mail = mail_of(store, built(store, settings))
    assert mail["From"] == "Pipeline <pipeline@example.com>"
    assert mail["Reply-To"] == "Me <me@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Id"] == "<morning.example.com>"
    assert mail["List-Unsubscribe"] == "<mailto:me@example.com?subject=unsubscribe%20morning>"
    assert mail["Date"].datetime == NOW
    assert re.fullmatch(r"<morning\.1\.1\.[0-9a-f]{20}@example\.com>", mail["Message-ID"])
    assert mail["MIME-Version"] == "1.0"
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/related", "multipart/alternative", "text/plain", "text/html"]


def test_a_sender_that_cannot_get_replies_offers_no_unsubscription(store, site, settings_from) -> None:
    settings = settings_from(mail='from = "Pipeline <pipeline@localhost>"')
    site.run({"1": BOOK})
    assert mail_of(store, built(store, settings))["List-Unsubscribe"] is None


def test_new_changed_gone_and_back_are_shown_with_old_and_new_values(store, site, settings_from) -> None:
    settings = settings_from()
    long = "A collection of poetry and drawings that celebrates its 10th anniversary"
    site.run({"1": BOOK | {"about": long}, "2": {"title": "Gone soon"}})
    built(store, settings)
    site.run({"1": BOOK | {"about": long.replace("10th", "20th"), "price": "£45.00"}, "3": {"title": "Fresh"}})
    result = built(store, settings, slot="s2")
    mail = mail_of(store, result)
    assert mail["Subject"] == "New: Fresh; A Light in the Attic: £51.77 → £45.00; Gone: Gone soon"
    assert result.counts == {ChangeKind.NEW: 1, ChangeKind.CHANGED: 1, ChangeKind.GONE: 1}
    text = text_of(mail)
    assert "price: £51.77 → £45.00" in text
    assert "celebrates its [-10th-]{+20th+} anniversary" in text
    assert text.index("Fresh") < text.index("A Light") < text.index("Gone soon")
    html = text_of(mail, "html")
    assert re.search(r"<del [^>]*>10th</del>\s*<ins [^>]*>20th</ins>", html)
    site.run({"1": BOOK, "2": {"title": "Gone soon"}, "3": {"title": "Fresh"}})
    assert "Back: " in mail_of(store, built(store, settings, slot="s3"))["Subject"]


def test_an_item_that_changed_in_several_runs_is_reported_once_with_its_net_change(store, site, settings_from) -> None:
    settings = settings_from()
    site.run({"1": BOOK, "2": {"title": "There and back", "price": "1"}})
    built(store, settings)
    site.run({"1": BOOK | {"price": "£50.00"}, "2": {"title": "There and back", "price": "2"}, "3": {"title": "Short"}})
    site.run({"1": BOOK | {"price": "£40.00"}, "2": {"title": "There and back", "price": "1"}, "4": {"title": "Stays"}})
    mail = mail_of(store, built(store, settings, slot="s2"))
    assert mail["Subject"] == "New: Stays; A Light in the Attic: £51.77 → £40.00"
    assert "price: £51.77 → £40.00" in text_of(mail)
    assert "£50.00" not in text_of(mail)
    assert "Short" not in text_of(mail)


def test_nothing_new_closes_the_claim_without_a_mail(store, site, settings_from) -> None:
    settings = settings_from()
    site.run({"1": BOOK})
    built(store, settings)
    site.run({"1": BOOK})
    assert built(store, settings, slot="s2").message_ids == ()
    assert digests.unfinished(store) == []


def test_a_failed_run_is_reported_even_if_nothing_is_new(store, site, settings_from) -> None:
    settings = settings_from()
    site.run(None, outcome=Outcome.FAILED, error="books.test: the login was not proved\x1b[31m")
    mail = mail_of(store, built(store, settings))
    assert mail["Subject"] == "books failed"
    assert "books: failed — books.test: the login was not proved\ufffd[31m" in text_of(mail)


def test_a_failure_that_is_over_is_no_reason_for_a_mail(store, site, settings_from) -> None:
    settings = settings_from()
    site.run({"1": BOOK})
    built(store, settings)
    site.run(None, outcome=Outcome.TIMED_OUT, error="too long")
    site.run({"1": BOOK})
    assert built(store, settings, slot="s2").message_ids == ()


def test_a_suspect_run_says_why_nothing_is_gone(store, site, settings_from) -> None:
    settings = settings_from()
    site.run({"1": BOOK})
    built(store, settings)
    site.run({})
    mail = mail_of(store, built(store, settings, slot="s2"))
    assert mail["Subject"] == "books suspect"
    assert "books: the last run is suspect, so it reports no items as gone — no items were found, although the spider had 1 item before" in text_of(mail)


def test_a_suspect_run_is_a_problem_although_a_later_run_was_stopped(store, site, settings_from) -> None:
    site.run({}, doubt="`items.each` matched nothing on 3 pages")
    site.run(None, outcome=Outcome.STOPPED, error="stopped with 2 pages left to fetch")
    mail = mail_of(store, built(store, settings_from()))
    assert "books: the last run is suspect, so it reports no items as gone — `items.each` matched nothing on 3 pages" in text_of(mail)


@pytest.mark.parametrize(("language", "said"), [
    ("en", "! Problems\r\n  books: `price` is filled in 1 of 10 items, usually in 100%"), ("zh", "books：10 个条目中只有 1 个有 `price`，平时为 100%")])
def test_a_field_that_far_fewer_items_have_than_usual_is_a_problem(store, site, settings_from, language: str, said: str) -> None:
    settings = settings_from(digest=f'language = "{language}"')
    site.run({str(number): BOOK for number in range(10)})
    built(store, settings)
    site.run({str(number): BOOK if not number else {**BOOK, "price": None} for number in range(10)})
    assert said in text_of(mail_of(store, built(store, settings, slot="s2")))


def test_a_suspect_run_names_the_missing_field(store, site, settings_from) -> None:
    settings = settings_from(digest='language = "zh"')
    site.run({"1": BOOK})
    built(store, settings)
    site.run({"1": {"title": BOOK["title"]}})
    mail = mail_of(store, built(store, settings, slot="s2"))
    assert mail["Subject"] == "A Light in the Attic：price £51.77 → —；books 结果可疑"
    assert "最近一次运行的结果可疑，因此未将任何条目标为消失 — 没有条目有字段 'price'，而上一轮唯一的条目有" in text_of(mail)


def rejected(reason: str, number: int = 1) -> Reject:
    return Reject(reason, {"title": f"Book {number}"}, key=f"key {number}")


def test_rejected_items_are_counted_with_their_reasons_and_are_news_only_when_new(store, site, settings_from) -> None:
    settings = settings_from()
    refused = [rejected("no price"), rejected("no price", 2), rejected("<b>no</b> title\r\nBcc: x", 3)]
    site.run({"1": BOOK}, rejects=refused)
    mail = mail_of(store, built(store, settings))
    assert mail["Subject"] == "New: A Light in the Attic — £51.77; 3 items rejected"
    assert ("books: 3 items rejected; to list them, run `pipeline items books --rejects` — no price (2), <b>no</b> title Bcc: x (1)"
            in text_of(mail))
    assert "&lt;b&gt;no&lt;/b&gt; title" in text_of(mail, "html")
    site.run({"1": BOOK}, rejects=refused)
    assert built(store, settings, slot="s2").message_ids == ()  # the same ones again are no news
    site.run({"1": BOOK}, rejects=[*refused, *(rejected(f"reason {n}", 10 + n) for n in range(9))])
    mail = mail_of(store, built(store, settings, slot="s3"))
    assert mail["Subject"] == "books: 12 items rejected"
    assert "no price (2), <b>no</b> title Bcc: x (1), reason 0 (1), and 8 more" in text_of(mail)
    assert "! Problems\r\n  books: 12 items rejected;" in text_of(mail)
    for _ in range(2):  # two runs of one digest
        site.run({"1": BOOK}, rejects=[rejected("no title", 30)])
    assert mail_of(store, built(store, settings, slot="s4"))["Subject"] == "books: 1 item rejected"


def test_rendering_again_after_a_kill_gives_the_same_message(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv", "jsonl"]')
    site.run({str(n): BOOK | {"title": f"Book {n}"} for n in range(30)})
    claim = claimed(store, settings)
    store.files.path(f"messages/.rendering-{claim.id}").mkdir(parents=True)  # what a killed build leaves
    store.files.path(f"messages/.rendering-{claim.id}/morning-2026-11-22.csv").write_bytes(b"half")
    store.files.write("messages/1-1.eml", b"an older try")
    later = NOW + timedelta(hours=1)
    again = digests.claim(store, "morning", ["books"], "s9", owner="other", now=later)
    assert again == claim
    with pytest.raises(LeaseLostError):
        build(store, settings, claim, owner="me", now=later)
    first = store.files.path("messages/1-1.eml").read_bytes() if store.files.exists("messages/1-1.eml") else b""
    result = build(store, settings, again, owner="other", now=later)
    second = store.files.path("messages/1-1.eml").read_bytes()
    assert len(result.message_ids) == 1
    assert first in (second, b"an older try")
    assert not store.files.path(f"messages/.rendering-{claim.id}").exists()


HOSTILE = {
    "title": "<script>alert(1)</script><style>*{display:none}</style>\r\nBcc: victim@example.com",
    "template": "{{ 7 * 7 }}{% for x in ().__class__.__mro__ %}{{ x }}{% endfor %}",
    "bidi": "invoice\u202efdp.exe\u2066\u200b",
    "control": "a\x00b\x1b[31mc\x07",
    "quote": "\"><img src=http://evil.test/x.png onerror=alert(1)>",
    "path": "/etc/passwd",
    "huge": "lorem ipsum " * 90_000,
    "link": "javascript:alert(1)",
    "formula": "=HYPERLINK(\"http://evil.test\",\"click\")",
    "data": "data:text/html,<script>alert(1)</script>",
    "phish": "https://bank.example@evil.test/",
}


def test_nothing_a_site_writes_into_an_item_has_any_effect(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv", "xlsx", "jsonl"]')
    key = "<b>key</b>\r\nX-Evil: 1"
    site.run({key: HOSTILE})
    first = mail_of(store, built(store, settings))
    site.run({key: {name: f"{value} {value}" for name, value in HOSTILE.items()}})
    second = mail_of(store, built(store, settings, slot="s2"))
    for mail in (first, second):
        html, text = text_of(mail, "html"), text_of(mail)
        assert mail["Bcc"] is None
        assert mail["X-Evil"] is None
        assert b"root:x:0" not in mail.as_bytes()
        assert len(html.encode()) < 100_000
        assert len(text) < 6_000
        assert not re.search(r"<(script|img|link|iframe|object|form)\b|\*\{display", html.partition("<body")[2]
                             .replace("*{display:none}&lt;", ""))
        assert re.findall(r"(?:href|src)=\"([^\"]*)\"", html) == []
        assert "{{ 7 * 7 }}" in html
        assert "{{ 7 * 7 }}" in text
        assert not set("\u202e\u2066\u200b\x00\x1b\x07").intersection(html + text)
        assert "invoicefdp.exe" in text
    assert next(first.iter_attachments()).get_filename() == "morning-2026-11-22.csv"


def attachments_of(store, result: BuiltDigest) -> dict[str, bytes]:
    return {part.get_filename().partition(".")[2]: part.get_payload(decode=True)
            for part in mail_of(store, result).iter_attachments()}


def test_tables_contain_every_change_with_types_and_no_formulas(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv", "xlsx", "jsonl"]')
    site.run({"1": BOOK | {"stock": 3}})
    built(store, settings)
    site.run({"1": BOOK | {"stock": 2}, "2": HOSTILE | {"huge": "x" * 40_000, "stock": -5, "net": "-5.2%"}})
    found = attachments_of(store, built(store, settings, slot="s2"))
    assert found["csv"].startswith(b'"change","spider"')
    rows = list(csv.DictReader(io.StringIO(found["csv"].decode("utf-8-sig"), newline="")))
    assert {row["change"]: row["stock"] for row in rows} == {"new": "-5", "changed": "2"}
    assert next(row["stock (before)"] for row in rows if row["change"] == "changed") == "3"
    evil = next(row for row in rows if row["change"] == "new")
    assert evil["formula"].startswith("'=")
    assert evil["net"] == "-5.2%"
    lines = [json.loads(line) for line in found["jsonl"].decode().splitlines()]
    assert next(line["after"]["formula"] for line in lines if line["change"] == "new") == HOSTILE["formula"]
    with zipfile.ZipFile(io.BytesIO(found["xlsx"])) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
        links = book.read("xl/worksheets/_rels/sheet1.xml.rels").decode()
    assert "<f>" not in sheet
    assert "<v>-5</v>" in sheet
    assert 'state="frozen"' in sheet
    assert set(re.findall(r'Target="([^"]*)"', links)) == {"https://books.test/1"}


def test_what_does_not_fit_is_listed_with_its_path_and_a_table_is_zipped_first(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv", "jsonl", "downloads"]\nattach_limit = "9kB"')
    import random

    noise = random.Random(1)
    site.run({str(n): BOOK | {"title": f"Book {n}", "noise": noise.randbytes(30).hex()} for n in range(100)},
             files=[("big.bin", b"x" * 10_000, "application/x-big"), ("small.bin", b"x" * 100, "application/x-small")])
    result = built(store, settings)
    mail = mail_of(store, result)
    names = [part.get_filename() for part in mail.iter_attachments()]
    assert names == ["morning-2026-11-22.csv.zip", "small.bin"]
    text = text_of(mail)
    assert re.search(r"morning-2026-11-22\.jsonl\.zip \(ZIP archive · [\d.]+ kB · too large to attach · stored as (\S+) in the data folder\)", text)
    assert "big.bin (BIN file · 10 kB · too large to attach · stored as downloads/books/1-big.bin in the data folder)" in text
    kept = re.search(r"too large to attach · stored as (\S+) in", text)
    assert store.files.exists(kept[1])


def test_pages_with_changes_are_attached_byte_for_byte(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv", "pages"]\nattach_limit = "9kB"\nchanges = ["new", "changed"]')
    import random

    noise = random.Random(2).randbytes(12_000)
    site.run({"1": BOOK, "2": BOOK, "big": BOOK}, pages={"1": b"<h1>one</h1>\r\n\xff", "2": b"<script>two</script>", "big": noise})
    mail = mail_of(store, built(store, settings))
    parts = {part.get_filename(): part for part in mail.iter_attachments()}
    assert list(parts) == ["morning-2026-11-22.csv", "site.test_1.html", "site.test_2.html"]
    assert parts["site.test_1.html"].get_payload(decode=True) == b"<h1>one</h1>\r\n\xff"
    assert parts["site.test_1.html"].get_content_type() == "text/html"
    kept = re.search(r"site\.test_big\.html \(web page · 12 kB · too large to attach · stored as (pages/books/\S+-site\.test_big\.html) in", text_of(mail))
    assert kept is not None
    assert store.files.path(kept[1]).read_bytes() == noise
    site.run({"1": BOOK, "2": BOOK | {"price": "£1"}, "big": BOOK}, pages={"1": b"<h1>other</h1>", "2": b"<p>2</p>"})
    mail = mail_of(store, built(store, settings, slot="s2"))
    assert [part.get_filename() for part in mail.iter_attachments()][1:] == ["site.test_2.html"]
    assert len(list(store.files.path("pages/books").iterdir())) == 4  # a page that brought no news was not kept


def test_many_pages_go_into_one_archive(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["pages"]')
    site.run({str(n): BOOK for n in range(30)}, pages={str(n): b"<p>%d</p>" % n for n in range(30)})
    archive, = mail_of(store, built(store, settings)).iter_attachments()
    assert archive.get_filename() == "morning-2026-11-22-pages.zip"
    with zipfile.ZipFile(io.BytesIO(archive.get_content())) as pages:
        assert sorted(pages.read(name) for name in pages.namelist()) == sorted(b"<p>%d</p>" % n for n in range(30))


def test_names_and_types_of_downloads_cannot_break_their_mime_part(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]')
    run = site.run({"1": BOOK}, files=[("x", b"1", "message/rfc822"), ("y", b"2", "text/html\r\nX-Evil: 1"),
                                       ("z", b"3", "text/plain")])
    with store.write() as connection:
        from pipeline.store.database.schema import download_files

        for name, evil in (("x", "../../etc/passwd"), ("y", "a\"\r\nX-Evil: 1\r\n\r\nb.txt"), ("z", "\u202e" + "长" * 300 + ".pdf")):
            connection.execute(download_files.update().where(download_files.c.run_id == run.id, download_files.c.name == name).values(name=evil))
    parts = list(mail_of(store, built(store, settings)).iter_attachments())
    assert [part.get_content_type() for part in parts] == ["application/octet-stream", "text/html", "text/plain"] or \
        [part.get_content_type() for part in parts] == ["application/octet-stream", "text/plain", "text/plain"]
    assert [part.get_filename() for part in parts] == ["_.._etc_passwd", "a_ X-Evil_ 1 b.txt", "长" * 116 + ".pdf"]
    assert all(part["X-Evil"] is None for part in parts)


def test_thousands_of_changes_are_attached_whole_shown_in_part_and_never_held_in_memory(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv"]')
    site.run({f"https://books.test/{n}": {"title": f"Book {n}", "text": "x" * 1000, "n": n} for n in range(2000)})
    claim = claimed(store, settings)
    tracemalloc.start()
    result = build(store, settings, claim, owner="me", now=NOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 7_000_000  # as for any number of changes; the texts of these are 2 MB
    mail = mail_of(store, result)
    assert mail["Subject"].startswith("2,000 new: Book 0, Book 1, Book 2, …")
    html = text_of(mail, "html")
    assert len(html.encode()) < 100_000
    assert "more, all in the attached morning-2026-11-22.csv" in html
    assert re.search(r"\* Book 0\s+https://\S+\s+  text: x+… · n: 0\s", text_of(mail))  # one of many: its fields on one line
    found = attachments_of(store, result)["csv"]
    assert len(found.splitlines()) == 2001


def test_html_stays_under_the_clip_limit_whatever_the_items_hold(store, site, settings_from) -> None:
    settings = settings_from()
    fat = {f"field {n}": "&<>\"" * 100 for n in range(12)}
    site.run({str(n): fat for n in range(40)})
    built(store, settings)
    site.run({str(n): {name: value[::-1] for name, value in fat.items()} for n in range(40)})
    mail = mail_of(store, built(store, settings, slot="s2"))
    assert len(text_of(mail, "html").encode()) < 100_000
    assert "40 changed" in mail["Subject"]


def test_the_mail_uses_only_html_features_that_were_examined(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv", "downloads"]')
    site.run({"1": BOOK, "2": {"title": "Gone"}})
    built(store, settings)
    site.run({"1": BOOK | {"price": "£1"}, "3": BOOK}, files=[("a.txt", b"a", "text/plain")], rejects=[rejected("no price")])
    html = text_of(mail_of(store, built(store, settings, slot="s2")), "html")
    assert features_of([html]) <= JUDGED  # for a new feature see html_features.py


def test_a_preview_shows_the_mail_and_changes_nothing(store, site, settings_from, tmp_path) -> None:
    settings = settings_from(digest='attach = ["csv"]')
    site.run({"1": BOOK})
    before = sorted(store.data_dir.rglob("*"))
    for _ in range(2):
        eml, html, text = preview(store, settings, "morning", tmp_path / "look", now=NOW)
        assert email.message_from_bytes(eml.read_bytes(), policy=default)["Subject"] == "New: A Light in the Attic — £51.77"
        assert "A Light in the Attic" in html.read_text("utf-8")
        assert "A Light in the Attic" in text.read_text("utf-8")
    assert sorted(store.data_dir.rglob("*")) == before
    assert len(built(store, settings).message_ids) == 1  # nothing was claimed
    assert "nothing new" in preview(store, settings, "morning", tmp_path / "look", now=NOW)[2].read_text("utf-8")
    again = preview(store, settings, "morning", tmp_path / "look", now=NOW, since=NOW - timedelta(days=1))
    assert "1 new" in again[2].read_text("utf-8")


def test_a_preview_since_a_time_shows_the_changes_after_it_also_if_they_were_told(store, site, settings_from, tmp_path) -> None:
    settings = settings_from()
    for price in ("£51.77", "£50.00", "£49.00"):
        site.run({"1": BOOK | {"price": price}})
        built(store, settings, slot=price)
    since = site.at - timedelta(minutes=1)
    look = [preview(store, settings, "morning", tmp_path / "look", now=NOW, since=time)[2].read_text("utf-8") for time in (site.at, since, None)]
    assert ["£50.00 → £49.00" in look[0], "£51.77 → £49.00" in look[1], "nothing new" in look[2]] == [True, True, True]


def test_a_preview_of_an_unknown_digest_says_which_is_meant(store, settings_from, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"no digest named 'mornin' .did you mean 'morning'"):
        preview(store, settings_from(), "mornin", tmp_path, now=NOW)


def test_a_custom_subject_expands_only_its_placeholders(store, site, settings_from) -> None:
    settings = settings_from(digest='subject = "Books {date}: {summary} {0.__class__} {evil}"')
    site.run({"1": BOOK})
    assert mail_of(store, built(store, settings))["Subject"] == \
        "Books 2026-11-22: New: A Light in the Attic — £51.77 {0.__class__} {evil}"


def test_a_chinese_subject_that_is_long_survives_folding(store, site, settings_from) -> None:
    settings = settings_from(digest='language = "zh"')
    site.run({str(n): {"title": f"第{n}本：关于一只猫，和一只狗（以及它们的朋友😀）的很长很长的故事标题"} for n in range(3)})
    result = built(store, settings)
    mail = mail_of(store, result)
    assert mail["Subject"] == result.subject
    assert all(len(line) < 80 for line in mail.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[0].split(b"\r\n"))


def test_names_longer_than_a_line_stay_readable_in_their_headers(store, site, settings_from) -> None:
    settings = settings_from(mail=f'from = "{"p" * 60}@{"mail." * 8}example.com"')
    site.run({"1": {"title": "A book"}})
    result = built(store, settings)
    head = store.files.path("messages/1-1.eml").read_bytes().partition(b"\r\n\r\n")[0].decode("ascii")
    assert "=?" not in head
    assert f"\r\nList-Unsubscribe: <mailto:{'p' * 60}@{'mail.' * 8}example.com?subject=unsubscribe%20morning>\r\n" in head
    assert f"\r\nMessage-ID: {mail_of(store, result)['Message-ID']}\r\n" in head


def test_a_digest_removed_from_the_settings_closes_its_claim(store, site, settings_from) -> None:
    site.run({"1": BOOK})
    claim = digests.claim(store, "evening", ["books"], "s1", owner="me", now=NOW)
    assert build(store, settings_from(), claim, owner="me", now=NOW).message_ids == ()
    assert digests.unfinished(store) == []
