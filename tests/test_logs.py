"""Tests of log lines: JSON or plain, with the run, without secrets, impossible to forge."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import logs
from pipeline.settings import load
from pipeline.settings.masking import Mask
from tests.leaks import leaks, secrets_of
from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program, eventually

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \r19:00:00 error: forged\n19:00:00 forged too\x9b31m\u202egnp.exe\x7f"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    root.handlers[:] = kept
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name in ("pipeline.mail", "scrapy"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def written(*, mask: Mask | None = None, terminal: bool = False, **other: Any) -> io.StringIO:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    logs.configure(stream, mask=mask or Mask(), **other)
    return stream


def test_each_line_is_json_with_its_run_and_part() -> None:
    stream = written(base={"spider": "books"})
    logger = logging.getLogger("pipeline.crawl")
    logger.info("begins")
    with logs.about(run=7):
        logger.warning("of the run: %s", HOSTILE)
    try:
        int(HOSTILE)
    except ValueError:
        logger.exception("failed")
    begins, of_the_run, failed = map(json.loads, stream.getvalue().splitlines())
    assert (begins["part"], begins["level"], begins["spider"]) == ("pipeline.crawl", "info", "books")
    assert "run" not in begins
    assert (of_the_run["run"], of_the_run["message"]) == (7, f"of the run: {HOSTILE}")
    assert "ValueError" in failed["traceback"]


@pytest.mark.parametrize("terminal", [True, False])
def test_no_site_drives_a_terminal_or_forges_a_line(*, terminal: bool) -> None:
    stream = written(terminal=terminal)
    logging.getLogger("pipeline.crawl").error("title: %s", HOSTILE)
    text = stream.getvalue()
    assert not set(text) & set("\x1b\x07\r\x9b\u202e\x7f")
    assert len([line for line in text.splitlines() if not line.startswith("  ")]) == 1


def test_a_terminal_line_has_time_level_message_and_run() -> None:
    stream = written(terminal=True)
    with logs.about(run=7):
        logging.getLogger("pipeline.service").info("books run 7: started")
        logging.getLogger("scrapy.core").warning("odd")
    first, second = stream.getvalue().splitlines()
    assert first[8:] == " books run 7: started"
    assert second[8:] == " warning: scrapy.core: odd (run 7)"


def test_parts_have_levels_of_their_own() -> None:
    stream = written(level="warning", parts={"mail": "debug", "scrapy": "error"})
    for part in ("pipeline.mail.outbox", "pipeline.crawl", "scrapy.core"):
        logging.getLogger(part).debug("fine")
        logging.getLogger(part).warning("odd")
    found = [(line["part"], line["level"]) for line in map(json.loads, stream.getvalue().splitlines())]
    assert found == [("pipeline.mail.outbox", "debug"), ("pipeline.mail.outbox", "warning"), ("pipeline.crawl", "warning")]


@pytest.mark.parametrize("secret", ["hunter22", 'a"b\\c/d', "pässwörd", "per%cent&", "<script>"])
def test_a_secret_is_masked_in_every_form_it_takes(secret: str) -> None:
    from html import escape
    from urllib.parse import quote
    for terminal in (True, False):
        stream = written(mask=Mask((secret,)), terminal=terminal)
        for form in (secret, quote(secret, safe=""), escape(secret), json.dumps({"password": secret})):
            logging.getLogger("pipeline").info("sent %s", form)
        assert secret not in stream.getvalue()
        assert json.dumps(secret)[1:-1] not in stream.getvalue()
        assert stream.getvalue().count("****") == 4


def test_the_password_of_a_database_is_a_secret_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE", "postgresql://me:hunter22%21@db/x")
    (tmp_path / "settings.toml").write_text('[pipeline]\ndatabase = { env = "DATABASE" }\n')
    mask = Mask.of(load(tmp_path / "settings.toml"))
    assert mask("hunter22%21 hunter22!") == "**** ****"


def test_a_command_prints_its_warnings_masked_and_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    assert logging.lastResort is not None
    before = logging.lastResort.formatter
    logging.getLogger().handlers[:] = []
    try:
        logs.mask_last_resort(Mask(("opens-the-shop",)))
        logging.getLogger("pipeline.mail").warning("refused opens-the-shop: %s", HOSTILE)
    finally:
        logging.lastResort.setFormatter(before)
    line = capfd.readouterr().err
    assert line.startswith("refused ****: ")
    assert "\x1b" not in line


def test_warnings_are_lines_too() -> None:
    stream = written()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("mind this", UserWarning, stacklevel=1)
    assert json.loads(stream.getvalue())["level"] == "warning"


def test_a_running_service_writes_json_and_each_line_of_a_run_says_which(program: Program, site: PageSite) -> None:
    program.environment["SITE_TOKEN"] = "t0ken-of-the-site"
    site.pages = {"/": Answer(f"<title>{HOSTILE}</title><p>{HOSTILE} t0ken-of-the-site</p>", 500)}
    program.write(f"""
    [logs]
    crawl = "debug"
    scrapy = "debug"
    [spiders.s]
    start = "{site.url}/"
    schedule = "every 1s"
    retries = 0
    robots = false
    headers = {{ X-Token = {{ env = "SITE_TOKEN" }} }}
    [spiders.s.items]
    key = ["x"]
    fields = {{ x = "p" }}
    """)
    program.serve()
    eventually(lambda: program.log().count("failed") > 1)
    program.stop()
    lines = [json.loads(line) for line in program.log().splitlines()]
    of_runs = [line for line in lines if " run " in line["message"]]
    assert of_runs
    assert [line for line in of_runs if "run" not in line or line["spider"] != "s"] == []
    for path in (program.data / "logs" / "runs").glob("*.log"):
        text = path.read_text()
        assert not set(text) & set("\x1b\x07\r\x9b\u202e\x7f")
        assert all(json.loads(line)["run"] == int(path.stem) for line in text.splitlines())


def test_on_a_terminal_lines_are_plain_text(program: Program) -> None:
    program.write("")
    ours, theirs = pty.openpty()
    import subprocess
    with subprocess.Popen([sys.executable, "-m", "pipeline", "serve", "--once"], cwd=program.folder, stderr=theirs,
                          stdout=theirs, env=program.variables()) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
        process.wait(30)
    os.close(ours)
    assert b"stopped\r\n" in shown
    assert b"{" not in shown


def test_the_search_for_secrets_finds_them(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[spiders.s.cookies]\nheader = { env = "X" }\n[mail]\npassword = { file = "p" }\n')
    (tmp_path / "p").write_text("from-a-file\n")
    secrets = secrets_of(tmp_path, {"X": "from&a<variable"})
    assert set(secrets) == {"from&a<variable", "from-a-file"}
    assert leaks(tmp_path, secrets) == []
    (tmp_path / "var" / "logs").mkdir(parents=True)
    (tmp_path / "var" / "pipeline.sqlite3").touch()
    (tmp_path / "var" / "logs" / "1.log").write_text("x from-a-file y")
    (tmp_path / "var" / "page.html").write_text("from&amp;a&lt;variable")
    from base64 import b64encode
    (tmp_path / "var" / "mail.eml").write_bytes(b64encode(b"user:from-a-file and more"))
    found = leaks(tmp_path, secrets)
    assert [line.partition(" ")[0] for line in found] == ["var/logs/1.log", "var/mail.eml", "var/page.html"]
    for path in (tmp_path / "var").rglob("*.*"):
        path.unlink()
