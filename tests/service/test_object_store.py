"""A run on one node and its digest on another, which share a database and an object store.

Nothing else is shared.
"""

from __future__ import annotations

import mailbox
import re
from email.message import Message
from pathlib import Path

import pytest

from pipeline.cli.connections import try_connections
from pipeline.cli.settings_check.check import check_settings
from pipeline.settings import load
from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program
from tests.servers.s3 import SECRET_KEY, S3Server

LARGE = bytes(range(256)) * 40_000  # 10 MB: uploaded in parts
LIST = '<div class=item><a href="/a">Alpha</a><a class=file href="/files/a.pdf">PDF</a></div><a class=file href="/files/large.bin">all</a>'


def show(site: PageSite) -> None:
    site.pages |= {"/": LIST, "/files/a.pdf": Answer(b"%PDF-1.4 alpha", headers={"Content-Type": "application/pdf", "ETag": '"a1"'}),
                   "/files/large.bin": Answer(LARGE, headers={"Content-Type": "application/octet-stream", "ETag": '"l1"'})}


def settings(site: PageSite, s3: S3Server, program: Program, data_dir: str) -> str:
    """The settings of a node with this data_dir."""
    return f"""
    [pipeline]
    data_dir = "{data_dir}"
    database = "sqlite:///{program.folder}/shared.sqlite3"
    storage = "{s3.storage("crawls")}"
    keep_free = "1MB"
    [pipeline.s3]
    endpoint = "{s3.url}"
    region = "us-east-1"
    access_key = {{ env = "S3_KEY" }}
    secret_key = {{ env = "S3_SECRET" }}
    [heartbeat]
    port = {program.port}
    [mail]
    from = "me@sender.test"
    [spiders.shop]
    start = "{site.url}/"
    download = ["a.file"]
    robots = false
    [spiders.shop.items]
    each = "div.item"
    key = ["url"]
    fields = {{ title = "a", url = "a::attr(href)" }}
    [digests.daily]
    spiders = ["shop"]
    to = ["you@reader.test"]
    attach = ["downloads", "pages", "csv"]
    """


def on(program: Program, site: PageSite, s3: S3Server, data_dir: str) -> None:
    """From now on, commands are those of the node with this data_dir."""
    text = settings(site, s3, program, data_dir)
    (program.folder / "settings.toml").write_text(re.sub(r"^ {4}", "", text, flags=re.MULTILINE), "utf-8")
    program.environment |= {"S3_KEY": "AKIATEST", "S3_SECRET": SECRET_KEY}


def local_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def mail_in(folder: Path) -> Message:
    (found,) = mailbox.Maildir(folder, create=False)
    return found


def test_another_node_sends_and_serves_what_a_run_has_stored(program: Program, site: PageSite, s3: S3Server) -> None:
    show(site)
    on(program, site, s3, "one")
    checked = program.run("check", "--connect")
    assert "storage" in checked.stdout
    ran = program.run("run", "shop")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    stored = s3.objects()
    assert stored["crawls/downloads/shop/large.bin"] == LARGE
    assert stored["crawls/downloads/shop/a.pdf"] == b"%PDF-1.4 alpha"
    assert {key.split("/")[1] for key in stored} == {"downloads", "pages", "logs"}
    assert not [key for key in local_files(program.folder / "one") if key.startswith(("downloads/", "pages/", "logs/runs/"))]

    on(program, site, s3, "two")
    sent = program.run("digest", "daily", "--send")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    names = {part.get_filename(): part.get_payload(decode=True) for part in mail_in(program.folder / "two" / "mail").walk() if part.get_filename()}
    assert names["a.pdf"] == b"%PDF-1.4 alpha"
    assert any(name.endswith(".csv") for name in names)
    assert any(name.endswith(".html") and content == LIST.encode() for name, content in names.items())
    assert {key.split("/")[1] for key in s3.objects()} == {"downloads", "pages", "logs", "messages"}

    site.pages["/files/a.pdf"] = Answer(b"%PDF-1.4 changed", headers={"Content-Type": "application/pdf", "ETag": '"a2"'})
    again = program.run("run", "shop")
    assert again.returncode == 0, again.stdout + again.stderr
    assert {key: content for key, content in s3.objects().items() if "downloads" in key and content != LARGE} == {
        "crawls/downloads/shop/a.pdf": b"%PDF-1.4 alpha", "crawls/downloads/shop/a (2).pdf": b"%PDF-1.4 changed"}
    assert sum(asked.path == "/files/large.bin" for asked in site.asked) == 2


def test_a_store_that_is_down_for_a_while_only_delays_the_uploads(program: Program, site: PageSite, s3: S3Server) -> None:
    show(site)

    def fail(asked: object) -> Answer:
        s3.fail("503", times=7)  # obstore sends a request four times, then the program waits and begins again
        return Answer(b"%PDF-1.4 alpha", headers={"Content-Type": "application/pdf"})

    site.pages |= {"/files/a.pdf": fail, "/files/large.bin": Answer(LARGE)}
    on(program, site, s3, "one")
    ran = program.run("run", "shop")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {key: content for key, content in s3.objects().items() if "downloads" in key} == {
        "crawls/downloads/shop/a.pdf": b"%PDF-1.4 alpha", "crawls/downloads/shop/large.bin": LARGE}


def test_settings_of_an_object_store_are_checked(program: Program, site: PageSite, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    on(program, site, s3, "one")
    for name, value in program.environment.items():
        monkeypatch.setenv(name, value)
    file = program.folder / "settings.toml"
    text = file.read_text("utf-8")
    for change, said in (
            ((s3.storage("crawls"), "gs://bucket"), "only object stores with the protocol of Amazon S3"),
            ((s3.storage("crawls"), "s3://key:hidden@bucket"), "pipeline.storage: this is not the URL of a bucket"),
            ((s3.url, "http://s3.example"), "has no TLS"),
            (('secret_key = { env = "S3_SECRET" }\n', ""), "has only one of access_key and secret_key"),
            ((f'storage = "{s3.storage("crawls")}"\n', ""), "pipeline.s3: has no effect")):
        file.write_text(text.replace(*change), "utf-8")
        lines = "\n".join(check_settings(str(file)).lines())
        assert said in lines
        assert "hidden" not in lines
    file.write_text(text, "utf-8")
    with s3.failing("refuse"):
        problem = dict(try_connections(load(str(file))))["storage"]
    assert "the object store cannot be used" in str(problem)
    assert SECRET_KEY not in str(problem)
