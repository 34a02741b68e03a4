"""Runs that have to wait: for the end of their quiet hours, or of a pause that a host asked for."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.model import Outcome
from pipeline.schedule.upcoming import upcoming
from pipeline.store.runs import host_pauses, runs
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

ITEM = '\n[spiders.s.items.fields]\nx = "p"'


def test_a_run_stopped_by_quiet_hours_continues_after_them(crawls: Crawls, site: PageSite) -> None:
    begun = threading.Event()

    def page(asked: Asked) -> Answer:
        number = int(asked.path[1:])
        if number == 2:
            begun.wait(20)  # until the quiet hours begin
        return Answer(f"<p>{number}</p><a href=/{number + 1}>next</a>" if number < 5 else "<p>5</p>")
    site.pages = {f"/{number}": page for number in range(6)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nrobots = false\nquiet = ["22:00-06:00"]'
                 f'\ntimeout = "30s"{ITEM}')
    evening = datetime(2026, 3, 10, 21, 59, 59, 700_000, tzinfo=UTC)
    first = crawls.perform(clock=lambda: evening, on_stop=begun.set)
    assert (first.outcome, first.error_kind) == (Outcome.STOPPED, "QuietHours")
    assert first.error.startswith("paused for quiet hours until 06:00; stopped with")
    now = datetime.now(UTC)
    (waiting,) = runs.resume_stopped(crawls.store, now=now, quiet_only=True)
    assert (waiting.pass_id, waiting.reason) == (first.pass_id, "resume")
    assert runs.resume_stopped(crawls.store, now=now, quiet_only=True) == []
    assert runs.start_run(crawls.store, None, owner="x", now=now, limit=9, held=["s"]) is None
    # A manual run gets the waiting run; a scheduled one is skipped.
    assert runs.claim_slot(crawls.store, "s", "manual", due_at=now, reason="manual", now=now).id == waiting.id
    skipped = runs.claim_slot(crawls.store, "s", "slot", due_at=now, reason="schedule", now=now)
    assert skipped.error == f"run {waiting.id} has not started yet"
    second = crawls.perform(clock=lambda: datetime(2026, 3, 11, 6, 0, tzinfo=UTC))
    assert (second.id, second.outcome, second.complete) == (waiting.id, Outcome.SUCCEEDED, True)
    assert sorted(item["x"] for item in crawls.items().values()) == list("012345")
    asked = site.paths()
    assert len(asked) - len(set(asked)) <= 1  # the page that was in flight


def test_a_retry_after_longer_than_patience_is_stored_for_every_later_run(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("later", 429, headers={"Retry-After": "7200"}), "/b": Answer("<p>x</p>")}
    rules = "".join(f'[spiders.{name}]\nstart = "{site.url}{path}"\nrobots = false\nschedule = "every 1h"\n'
                    f'[spiders.{name}.items.fields]\nx = "p"\n' for name, path in (("s", "/"), ("t", "/b")))
    crawls.write(rules)
    began = datetime.now(UTC)
    first = crawls.perform("s")
    again, other = crawls.perform("s"), crawls.perform("t")
    assert (first.outcome, site.paths()) == (Outcome.FAILED, ["/"])
    assert [(run.outcome, run.error_kind) for run in (again, other)] == [(Outcome.STOPPED, "HostPaused")] * 2
    assert "requests to its host are paused until" in again.error
    entries = upcoming(crawls.store, crawls.settings, now=datetime.now(UTC))
    assert all(entry.paused_until and timedelta(hours=1.9) < entry.paused_until - began < timedelta(hours=2.1)
               and entry.next == entry.paused_until for entry in entries)
    shown = build_snapshot(crawls.store, crawls.settings, DueTimes({}, began, datetime.now(UTC)), version="1")
    assert any("requests to its host are paused until" in reason for reason in shown["spiders"]["t"]["reasons"])


def test_a_paused_host_does_not_delay_other_hosts_of_the_spider(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>here</p>")}
    with PageSite({"/": Answer("later", 503, headers={"Retry-After": "7200"})}) as busy:
        crawls.write(f'[spiders.s]\nstart = ["{busy.url}/", "{site.url}/"]\nrobots = false{ITEM}')
        runs_ = [crawls.perform(), crawls.perform()]
        assert (busy.paths(), site.paths()) == (["/"], ["/", "/"])
        assert [(run.outcome, run.complete) for run in runs_] == [(Outcome.SUCCEEDED, False)] * 2
        assert "requests to the host are paused for" in runs_[1].error


def test_a_pass_continues_when_the_pause_of_its_host_is_over(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>x</p>")}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    now = datetime.now(UTC)
    host_pauses.pause_host(crawls.store, site.url.removeprefix("http://"), until=now + timedelta(hours=1), spider="s", now=now)
    assert (crawls.perform().outcome, site.paths()) == (Outcome.STOPPED, [])
    later = now + timedelta(hours=1)
    (resumed,) = runs.resume_stopped(crawls.store, now=later, quiet_only=True)
    assert host_pauses.paused_until(crawls.settings.spiders["s"], host_pauses.paused_hosts(crawls.store, now=later)) is None
    assert resumed.reason == "resume"


def test_no_login_is_tried_while_its_host_is_paused(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>x</p>")}
    with PageSite({"/login": Answer("<form></form>")}) as login_site:
        crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\n[spiders.s.login]\nurl = "{login_site.url}/login"\n'
                     f'fields = {{ user = "u" }}\ncheck = "a"{ITEM}')
        now = datetime.now(UTC)
        host_pauses.pause_host(crawls.store, login_site.url.removeprefix("http://"), until=now + timedelta(hours=1), spider="s", now=now)
        assert (crawls.perform().outcome, site.paths(), login_site.paths()) == (Outcome.STOPPED, [], [])
