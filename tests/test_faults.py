"""Tests of faults that users meet: one clear message, the documented exit code, recovery."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.authority import Authority
from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program, eventually
from tests.servers.proxies import start_http_proxy
from tests.servers.site import PASSWORD, USER, Site, start_site
from tests.servers.smtp import SmtpServer

ITEMS = '\n[spiders.s.items.fields]\nx = "p"\n'
MAILING = """
    [mail]
    host = "127.0.0.1"
    port = {port}
    security = "none"
    [spiders.s]
    start = "{url}/"
    {more}
    [spiders.s.items.fields]
    x = "p"
    [digests.d]
    spiders = ["s"]
    to = ["you@example.com"]
    """


@pytest.fixture
def login_site() -> Iterator[Site]:
    with start_site() as started:
        yield started


def one_line(text: str) -> str:
    """The one message, no traceback around it."""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


def test_a_wrong_password_is_reported_in_the_site_s_own_words(program: Program, login_site: Site) -> None:
    program.write(f"""
        [spiders.s]
        start = "{login_site.url}/home"
        [spiders.s.login]
        url = "{login_site.url}/login"
        fields = {{ user = "{USER}", pass = {{ env = "SITE_PASSWORD" }} }}
        check = "a[href*='logout']"
        [spiders.s.items.fields]
        x = "title"
        """)
    program.environment["SITE_PASSWORD"] = "wrong-secret"
    done = program.run("run", "s")
    assert done.returncode == 3
    line = one_line(done.stdout)
    assert "spiders.s.login" in line
    assert "password" in line.lower()
    assert "wrong-secret" not in done.stdout + done.stderr
    program.environment["SITE_PASSWORD"] = PASSWORD
    assert program.run("run", "s").returncode == 0


def test_an_expired_certificate_fails_the_run_with_its_reason(program: Program, authority: Authority) -> None:
    with PageSite({"/": "<p>x</p>"}, tls=authority.context(expired=True)) as site:
        program.write(f'[spiders.s]\nstart = "{site.url}/"\nca_file = "{authority.ca_file}"\nretries = 0{ITEMS}')
        done = program.run("run", "s")
        assert done.returncode == 5
        assert "certificate has expired" in one_line(done.stdout)
        assert site.asked == []


def test_a_certificate_of_an_authority_in_ca_file_is_trusted(program: Program, authority: Authority) -> None:
    with PageSite({"/": "<p>x</p>"}, tls=authority.context()) as site:
        program.write(f'[spiders.s]\nstart = "{site.url}/"\nca_file = "{authority.ca_file}"{ITEMS}')
        assert program.run("run", "s").returncode == 0
        program.write(f'[spiders.s]\nstart = "{site.url}/"\nretries = 0{ITEMS}')
        refused = program.run("run", "s")
        assert refused.returncode == 5
        assert "ca_file" in refused.stdout


def test_a_proxy_that_is_down_is_named_and_not_bypassed(program: Program, site: PageSite, free_port: int) -> None:
    site.pages = {"/": "<p>x</p>"}
    program.write(f"""
        [proxies]
        office = "http://me:pr0xy-secret@127.0.0.1:{free_port}"
        [spiders.s]
        start = "{site.url}/"
        proxy = "office"
        retries = 0
        {ITEMS}""")
    done = program.run("run", "s")
    assert done.returncode == 4
    assert f"127.0.0.1:{free_port}" in one_line(done.stdout)
    assert "pr0xy-secret" not in done.stdout + done.stderr
    assert site.asked == []
    with start_http_proxy("me:pr0xy-secret") as proxy:
        text = (program.folder / "settings.toml").read_text()
        (program.folder / "settings.toml").write_text(re.sub(r'office = ".*"', f'office = "http://me:pr0xy-secret@{proxy}"', text))
        assert program.run("run", "s").returncode == 0
        assert site.asked != []


def test_mail_waits_for_a_server_that_is_down_and_is_sent_once(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>news</p>"}
    with SmtpServer() as found:
        port = found.port
    program.write(MAILING.format(port=port, url=site.url, more=""))
    assert program.run("run", "s").returncode == 0
    sent = program.run("digest", "d", "--send")
    assert sent.returncode == 7
    assert f"127.0.0.1:{port}" in sent.stdout
    assert "Traceback" not in sent.stderr
    assert "you@example.com" in program.run("outbox").stdout
    with SmtpServer(port=port) as server:
        assert program.run("outbox", "retry", "1").returncode == 0
        assert program.run("digest", "d", "--send").stdout == "d: no ended runs to report\n"
        assert len(server.received) == 1
        assert server.received[0].recipients == ("you@example.com",)
    assert program.run("outbox").stdout == ""


def test_a_message_survives_a_killed_service_and_is_delivered_by_the_next(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>news</p>"}
    with SmtpServer() as found:
        port = found.port
    program.write(MAILING.format(port=port, url=site.url, more='schedule = "every 1h"'))
    program.serve()
    eventually(lambda: program.status()["outbox"]["waiting"] == 1)
    program.kill()
    with SmtpServer(port=port) as server:
        assert program.run("outbox", "retry", "1").returncode == 0
        assert len(server.received) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12M", "tmpfs", str(folder)], check=False,
                          capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_the_run_and_the_next_one_resumes_the_pass(program: Program, site: PageSite, small_disk: Path) -> None:
    body = os.urandom(9_000_000)
    site.pages = {"/": "<p>x</p><a href=/big.bin>big</a>", "/big.bin": Answer(body, headers={
        "Content-Type": "application/octet-stream"})}
    program.write(f"""
        [spiders.s]
        start = "{site.url}/"
        download = ["a"]
        {ITEMS}""")
    text = (program.folder / "settings.toml").read_text()
    (program.folder / "settings.toml").write_text(text.replace("[pipeline]", f'[pipeline]\ndata_dir = "{small_disk}/var"'))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 7_000_000)
    full = program.run("run", "s")
    assert full.returncode == 6
    line = one_line(full.stdout)
    assert "free" in line or "full" in line or "room" in line
    assert not list(small_disk.glob("var/downloads/s/*.bin"))
    ballast.unlink()
    again = program.run("run", "s")
    assert again.returncode == 0, again.stdout
    assert program.history()[0]["pass"] == program.history()[1]["pass"]
    assert (small_disk / "var/downloads/s/big.bin").read_bytes() == body
    assert site.paths().count("/") == 1


def test_settings_with_ten_mistakes_report_all_ten(program: Program) -> None:
    program.write("""
        [mail]
        from = "nobody"
        password = "plain"
        [proxies]
        office = "ftp://127.0.0.1"
        [spiders.s]
        spider = "crwl"
        start = ["ftp://x/"]
        proxy = "offce"
        delay = 3
        schedule = "0 25 * * *"
        concurency = 2
        [digests.d]
        spiders = ["t"]
        to = ["you"]
        """)
    done = program.run("check")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith("settings.toml: ") for line in lines), done.stderr
    for place, words in [
        ("mail.from", "not an e-mail address"), ("mail.password", "{ env"), ("proxies.office", "not a proxy URL"),
        ("spiders.s.spider", "give one of crawl"), ("spiders.s.start[0]", "http"),
        ("spiders.s.proxy", "known: office"), ("spiders.s.delay", '"30s"'), ("spiders.s.schedule", "hour"),
        ("spiders.s.concurency", "did you mean 'concurrency'?"), ("digests.d.spiders", "known: s"),
        ("digests.d.to[0]", "not an e-mail address"),
    ]:
        assert any(line.startswith(f"settings.toml: {place}: ") and words in line for line in lines), (place, done.stderr)
    assert "plain" not in done.stderr


@pytest.mark.parametrize(("text", "words"), [
    ("[pipeline\n", r"line 1"), ("a = 1\na = 2\n", r"line 2"), ("\xff", r"not UTF-8|Invalid|not valid")])
def test_invalid_toml_is_reported_with_its_position(program: Program, text: str, words: str) -> None:
    (program.folder / "settings.toml").write_text(text, "latin-1")
    done = program.run("check")
    assert done.returncode == 2
    assert re.search(words, done.stderr), done.stderr


def test_no_settings_at_all_names_the_command_that_writes_them(program: Program) -> None:
    done = program.run("serve")
    assert done.returncode == 2
    assert "pipeline init" in one_line(done.stderr)
    assert program.run("init").returncode == 0
    assert "there is no spider, so there is nothing to do; write one with `pipeline new spider NAME --from URL`" in program.run("check").stderr
    assert program.run("init").returncode == 2


@pytest.mark.parametrize("command", [
    ["run", "nobody"], ["run"], ["digest", "nothing", "--send"], ["items", "nobody"], ["history", "nobody"],
    ["login", "nobody"], ["cookies", "show", "nobody"], ["outbox", "show", "99"], ["outbox", "retry", "99"],
    ["outbox", "drop", "99"], ["nonsense"], ["digest"], ["items", "s", "--format", "xlsx"]])
def test_a_command_with_bad_input_says_so_and_exits_2(program: Program, command: list[str]) -> None:
    program.write('[spiders.s]\nstart = "http://127.0.0.1:1/"\n[digests.d]\nspiders = ["s"]\nto = ["a@b"]\n')
    done = program.run(*command)
    assert done.returncode == 2, done
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_a_damaged_database_after_a_kill_is_found_before_it_is_used(program: Program) -> None:
    program.write("")
    program.serve()
    program.kill()
    database = program.data / "pipeline.sqlite3"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'changes'").fetchone()
    content = bytearray(database.read_bytes())
    content[4096 * (root - 1):4096 * root] = b"\xa5" * 4096
    database.write_bytes(content)
    done = program.run("serve")
    assert done.returncode == 8
    assert "damaged" in done.stderr
    assert "pipeline restore FILE --replace" in done.stderr
    assert "Traceback" not in done.stderr
