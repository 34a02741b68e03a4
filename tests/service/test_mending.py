"""A service proposes new rules after a suspect run.

It shows them in the alert, in the status and on the spider's page, or writes them.
"""

from __future__ import annotations

import asyncio
import email
import json
import subprocess
import tomllib
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from pipeline.heartbeat.http.operations.spider_details import spider_details
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.service import mending
from pipeline.service.state import ServiceState
from pipeline.settings import load
from pipeline.store.crawl import mendings
from pipeline.store.runs import paused_spiders
from tests.cli.test_mend import new, old, settings_for, show
from tests.servers.pages import PageSite
from tests.servers.program import Program, eventually

ALERTS = '\n[alerts]\nto = ["ops@example.com"]\nevery = "1s"\n'


def mails(program: Program) -> list[EmailMessage]:
    found = sorted((program.data / "mail" / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
    return [email.message_from_bytes(path.read_bytes(), policy=default) for path in found]


def write(program: Program, site: PageSite, more: str = "") -> None:
    toml = settings_for(site)
    program.write(toml.replace("[spiders.lamps.items]", f'schedule = "every 1s"\n        {more}\n        [spiders.lamps.items]') + ALERTS)


def run_once(program: Program) -> subprocess.CompletedProcess[str]:
    """Start the service until it has performed a run: within a second after the last run, none is due."""
    return next(done for done in iter(lambda: program.run("serve", "--once"), None) if "lamps run" in done.stderr)


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def status_and_page(program: Program) -> tuple[list[str], list[str]]:
    """The reasons in the status, and the new rules on the spider's page."""
    settings, now = load(program.folder / "settings.toml"), datetime.now(UTC)
    store = program.open_store()
    snapshot = build_snapshot(store, settings, DueTimes({}, now, now), version="1")
    page = spider_details(store, settings, str, "lamps", now)
    store.close()
    assert page is not None
    assert "`pipeline mend lamps --apply` writes these rules" in page.new_rules_note
    return snapshot["spiders"]["lamps"]["reasons"], page.new_rules


def test_the_alert_of_a_suspect_run_carries_the_new_rules(program: Program, site: PageSite) -> None:
    write(program, site)
    show(site, old)
    assert run_once(program).returncode == 0
    assert mails(program) == []
    show(site, new)
    run_once(program)

    (alert,) = mails(program)
    assert alert["Subject"].startswith("[alert] lamps is suspect")
    text, html = part(alert, "plain"), part(alert, "html")
    assert "New rules: `pipeline mend lamps --apply` writes the rules below to the settings file (title 12 of 12, url 12 of 12" in text
    assert '  | -        each = "li.lamp"  # one lamp' in text
    assert '  | +        each = "tr"  # one lamp' in text
    assert "  | after   Amber lamp" in text
    assert 'each = "tr"' in html
    assert any("a mend is proposed: `pipeline mend lamps`" in reason for reason in status_and_page(program)[0])
    assert "[spiders.lamps.items]" in "".join(status_and_page(program)[1])
    assert program.run("mend", "lamps", "--apply").returncode == 0

    def told() -> list[str]:
        run_once(program)
        return [str(mail["Subject"]) for mail in mails(program)[1:]]

    assert eventually(told) == ["[alert] lamps is no longer suspect"]  # at the earliest a second after the other alert


def test_with_auto_the_rules_are_written_and_the_alert_says_so(program: Program, site: PageSite) -> None:
    write(program, site, 'mend = "auto"')
    show(site, old)
    run_once(program)
    show(site, new)
    done = run_once(program)

    (alert,) = mails(program)
    assert "the rules below were written to the settings file (title 12 of 12" in part(alert, "plain")
    assert tomllib.loads((program.folder / "settings.toml").read_text())["spiders"]["lamps"]["items"]["each"] == "tr"
    assert "the new rules of lamps were written to the settings file" in done.stderr
    run = program.run("run", "lamps")
    assert run.returncode == 0
    assert "suspect" not in run.stderr


def test_with_auto_the_alert_the_log_and_the_status_say_why_nothing_was_written(program: Program, site: PageSite) -> None:
    write(program, site, 'mend = "auto"')
    show(site, old)
    run_once(program)
    before = (program.folder / "settings.toml").read_bytes()
    show(site, lambda names: new(names).replace(".50", ".75"))
    done = run_once(program)

    why = "only 0 % of the known values of price agree, and 95 % are needed"
    (alert,) = mails(program)
    assert f'they were not written, although mend = "auto": {why}' in part(alert, "plain").replace("\n", " ")
    assert why in done.stderr
    assert any(why in reason for reason in status_and_page(program)[0])
    assert (program.folder / "settings.toml").read_bytes() == before


def test_a_service_searches_after_a_suspect_run_that_was_made_before_it_started(program: Program, site: PageSite) -> None:
    write(program, site)
    show(site, old)
    program.run("run", "lamps")
    show(site, new)
    done = program.run("run", "lamps")
    assert "suspect" in done.stdout
    assert "; `pipeline mend lamps` searches for new rules" in done.stdout
    text = (program.folder / "settings.toml").read_text()
    (program.folder / "settings.toml").write_text(text.replace('schedule = "every 1s"', 'schedule = "every 9h"'))
    log = program.run("serve", "--once").stderr
    lines = [json.loads(line) for line in log.splitlines() if "new rules are proposed" in line]
    assert [(line["spider"], f"run {line['run']}:" in line["message"]) for line in lines] == [("lamps", True)]


@pytest.mark.parametrize(("more", "said"), [("", "New rules: none were found (the 3 pages have none of the values of the 12 known items"), ('mend = "off"', "")])
def test_the_alert_says_that_no_rules_were_found(program: Program, site: PageSite, more: str, said: str) -> None:
    write(program, site, more)
    show(site, old)
    run_once(program)
    site.pages = dict.fromkeys(("/1", "/2", "/3"), "<p>Welcome to our new shop.</p>")
    run_once(program)
    (alert,) = mails(program)
    text = part(alert, "plain")
    assert said in text
    assert ("New rules" in text) is bool(said)


def test_with_auto_a_newer_edit_of_a_person_is_kept(program: Program, site: PageSite) -> None:
    write(program, site, 'mend = "auto"')
    path = program.folder / "settings.toml"
    searched = load(path).spiders["lamps"]
    changes = {"items": {"each": "tr"}}
    path.write_text(path.read_text().replace('"h3 a"', '"h4 a"'))
    edited = path.read_bytes()
    assert mending.write(path, "lamps", changes, searched) is None
    assert path.read_bytes() == edited
    assert mending.write(path, "lamps", changes, load(path).spiders["lamps"]) is not None


def test_a_search_waits_while_the_spider_is_paused(program: Program, site: PageSite) -> None:
    write(program, site)
    show(site, old)
    program.run("run", "lamps")
    show(site, new)
    program.run("run", "lamps")
    store = program.open_store()
    state = ServiceState(store, load(program.folder / "settings.toml"))
    held = {"lamps"}

    async def reload() -> None: ...

    async def held_now() -> set[str]:
        return set(held)

    async def attempts() -> int:
        await mender.again()
        found = mendings.of_spider(store, "lamps")
        assert found is not None
        return found.attempt

    async def search() -> None:
        await mender.at_start()
        assert await attempts() == 0, "the spider is held"
        held.clear()
        paused_spiders.pause(store, "lamps", now=datetime.now(UTC))
        assert await attempts() == 0, "the spider is paused"
        paused_spiders.resume(store, "lamps")
        state.stop()
        assert await attempts() == 0, "the service is stopping"
        state.stopping.clear()
        state.settings = state.settings.model_copy(update={"spiders": {}})  # such a search ends at once
        assert await attempts() == 1

    mender = mending.RuleMender(state, reload, held_now)
    asyncio.run(search())
    store.close()


def test_rules_of_a_spider_with_secrets_have_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[spiders.s]\nspider = "feed"\nstart = "http://x.test/"\ncookies = { header = { env = "NOT_SET" } }\n')
    assert mending.rules_of(load(path).spiders["s"]) == mending.rules_of(load(path).spiders["s"])


@pytest.mark.sqlite
def test_only_the_search_of_the_run_is_made_and_a_settings_file_that_was_changed_meanwhile_is_kept(program: Program, site: PageSite) -> None:
    write(program, site, 'mend = "auto"')
    path = program.folder / "settings.toml"
    path.write_text(path.read_text() + "\n".join(line.strip() for line in settings_for(site).replace("spiders.lamps", "spiders.other").splitlines()))
    for design in (old, new):
        show(site, design)
        program.run("run", "lamps")
        program.run("run", "other")
    store = program.open_store()
    state = ServiceState(store, load(path))
    path.write_text(path.read_text().replace('"h3 a"', '"h4 a"', 1))
    edited = path.read_bytes()

    async def reload() -> None: ...

    async def held() -> set[str]:
        return set()

    async def search() -> None:
        lamps_run, other_run = mendings.last_suspect_runs(store)
        assert mendings.request(store, other_run, now=datetime.now(UTC))
        await mender.after_run(lamps_run)

    mender = mending.RuleMender(state, reload, held)
    asyncio.run(search())
    lamps, other = (mendings.of_spider(store, name) for name in ("lamps", "other"))
    store.close()
    assert lamps is not None
    assert other is not None
    assert (lamps.state, lamps.report["not_applied"]) == (mendings.MendingState.PROPOSED, mending.CHANGED)
    assert (other.state, other.attempt) == (mendings.MendingState.WAITING, 0)
    assert path.read_bytes() == edited
