"""Tests that `pipeline doctor` reports each broken thing with its fix, and nothing when all is well."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import doctor_checks
from pipeline.cli.doctor_checks import Finding, State
from pipeline.cli.main import main
from pipeline.store import open_store
from pipeline.store.health import write_probe
from tests.servers.pages import PageSite
from tests.servers.program import Program


def write(folder: Path, toml: str = "") -> str:
    path = folder / "settings.toml"
    toml += "" if "[spiders" in toml else '[spiders.x]\nstart = "http://x.lan/"\n'
    toml = re.sub(r"(\[spiders\.\w\]\n)", r'\1download = ["a.pdf"]\n', toml)  # doctor warns of a spider that extracts nothing
    path.write_text(f'[pipeline]\nkeep_free = "1MB"\n[heartbeat]\nport = 1\n{toml}\n', "utf-8")
    return str(path)


def wrong(settings_file: str, *, connect: bool = False) -> list[Finding]:
    return [finding for finding in doctor_checks.examine(settings_file, now=datetime.now(UTC), connect=connect)
            if finding.state is not State.OK and "is not synchronised" not in finding.found
            and finding.found != "the service does not answer"]


def test_doctor_finds_nothing_when_nothing_is_wrong(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    program.write(f'[spiders.s]\nstart = "{site.url}/"\ndownload = ["a.pdf"]\n')
    program.serve()
    assert wrong(str(program.folder / "settings.toml"), connect=True) == []
    done = program.run("doctor", "--offline")
    assert done.returncode == 0, done.stdout
    assert "service: the service is running, and its health is ok" in done.stdout
    jobs = next(line for line in done.stdout.splitlines() if "jobs:" in line)
    assert "0 schedules; recovery every 5 s; " in jobs
    assert "unreported runs every" in jobs
    assert "0 problems" in done.stdout


def test_every_problem_of_the_settings_is_reported(tmp_path: Path) -> None:
    found = wrong(write(tmp_path, '[spiders.s]\nstart = "ftp://x"\nproxy = "none"\n'))
    assert {finding.check for finding in found} == {"settings"}
    assert len(found) == 2


def test_files_that_other_users_can_read_are_reported(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("n=s")
    (tmp_path / "secret").chmod(0o644)
    open_store(tmp_path / "var").close()
    (tmp_path / "var" / "jars").mkdir()
    jar = tmp_path / "var" / "jars" / "s.txt"
    jar.touch(mode=0o644)
    settings = write(tmp_path, '[spiders.s]\nstart = "http://x.example/"\n[spiders.s.cookies]\nheader = { file = "secret" }\n')
    assert {finding.fix for finding in wrong(settings)} == {f"run `chmod 600 {tmp_path / 'secret'}`", f"run `chmod go= {jar}`"}


def test_a_missing_secret_a_full_disk_and_a_dead_proxy_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    settings = write(tmp_path, '[proxies]\nlost = { url = "http://127.0.0.1:1", user = "u", password = { env = "NOT_SET" } }\n'
                     'dead = "http://127.0.0.1:1"\n[spiders.s]\nstart = "http://127.0.0.1:1/"\nproxy = "dead"\n'
                     '[spiders.t]\nstart = "http://127.0.0.1:1/"\nproxy = "lost"\n'
                     '[mail]\nhost = "127.0.0.1"\nport = 1\nsecurity = "none"\n')
    Path(settings).write_text(Path(settings).read_text().replace("1MB", "900TB"))
    found = {finding.check: finding for finding in wrong(settings, connect=True)}
    assert set(found) == {"secrets", "disk", "proxies.dead (http://127.0.0.1:1) for spiders.s", "proxies.lost", "mail"}
    assert all(finding.state is State.PROBLEM and finding.fix for finding in found.values())


def test_a_damaged_database_is_reported_with_the_command_to_restore_it(tmp_path: Path) -> None:
    settings = write(tmp_path)
    open_store(tmp_path / "var").close()
    database = tmp_path / "var" / "pipeline.sqlite3"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'changes'").fetchone()
    content = bytearray(database.read_bytes())
    content[4096 * (root - 1):4096 * root] = b"\xa5" * 4096
    database.write_bytes(content)
    found = wrong(settings)
    assert found
    assert {finding.check for finding in found} == {"database"}
    assert "pipeline restore" in found[0].fix


def test_a_clock_behind_the_store_is_reported(tmp_path: Path) -> None:
    store = open_store(tmp_path / "var")
    write_probe.write_pulse(store, now=datetime.now(UTC) + timedelta(hours=1))
    store.close()
    (finding,) = wrong(write(tmp_path))
    assert (finding.check, finding.state) == ("clock", State.PROBLEM)


def test_a_library_that_is_too_old_or_missing_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.requires
    monkeypatch.setattr(metadata, "requires", lambda name: [*(real(name) or ()), "click>=999", "no-such-thing>=1",
                                                            "not-this-either ; extra == 'x'"])
    found = [finding.found for finding in wrong(write(tmp_path)) if finding.check == "versions"]
    assert any(text.startswith("click ") and text.endswith("; >=999 is required") for text in found)
    assert "no-such-thing is not installed" in found
    assert len(found) == 2


def test_a_script_gets_one_document_and_an_exit_code(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["doctor", "--json", "--offline", "--settings", write(tmp_path, "x = 1\n")])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["problems"] == 1
    assert found["findings"][-1]["check"] == "settings"


def test_too_few_open_files_are_reported_and_with_far_too_few_the_service_does_not_start(program: Program) -> None:
    program.write("")
    few = program.run("doctor", "--offline", open_files=300)
    assert "heartbeat accepts only 44 connections instead of 512" in few.stdout, few.stdout
    assert "LimitNOFILE=" in few.stdout
    too_few = program.run("serve", open_files=60)
    assert (too_few.returncode, too_few.stdout) == (2, "")
    assert "the limit of open files is 60, but the service needs at least 128" in too_few.stderr
    assert "Traceback" not in too_few.stderr


@pytest.mark.needs("chromium")
def test_the_browser_is_tested_only_if_a_spider_needs_one(tmp_path: Path) -> None:
    def found(toml: str) -> list[Finding]:
        return [finding for finding in doctor_checks.examine(write(tmp_path, toml), now=datetime.now(UTC), connect=False) if finding.check == "browser"]

    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no luck >&2\nexit 3\n", "utf-8")
    broken.chmod(0o700)
    assert found("") == []
    works, = found('[spiders.s]\nstart = "http://x.lan/"\nrender = "browser"\n')
    assert works.state is State.OK
    assert re.search(r"(Chrom\w+|Headless).* \d+\..*/", works.found)
    fails, = found(f'[browser]\nexecutable = "{broken}"\n[spiders.s]\nstart = "http://x.lan/"\nrender = "browser"\n')
    assert fails.state is State.PROBLEM
    assert "no luck" in fails.found
    assert "playwright install chromium" in fails.fix


def test_the_language_model_is_named_with_the_version_of_its_package(tmp_path: Path) -> None:
    ai = '[ai]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n[spiders.s]\nstart = "http://x.lan/"\n[digests.d]\nspiders = ["s"]\nto = ["a@b.example"]\nsummary = true\n'
    found = [finding for finding in doctor_checks.examine(write(tmp_path, ai), now=datetime.now(UTC), connect=False) if finding.check == "language model"]
    assert [(finding.state, finding.found.partition("openai")[0]) for finding in found] == [(State.OK, "m at 127.0.0.1:9, used by 1 digest; ")]
