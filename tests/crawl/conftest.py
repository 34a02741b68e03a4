"""Fixtures for crawls: runs of the spiders of a settings file in this process, and a site for them."""

from __future__ import annotations

import asyncio
import multiprocessing
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pipeline.crawl.context import CrawlContext
from pipeline.crawl.crawler import crawl
from pipeline.crawl.spider_import import spider_class
from pipeline.model import Change, Progress, Run
from pipeline.session import open_session, prepare
from pipeline.settings import Settings, load
from pipeline.store import Store
from pipeline.store.crawl import items, rule_counts
from pipeline.store.crawl.compare import RuleCount
from pipeline.store.mail import digests
from pipeline.store.runs import runs
from pipeline.workers.crawl_run import CrawlRun
from pipeline.workers.stop_request import StopRequest
from tests.empty_store import open_empty_store
from tests.servers.pages import PageSite
from tests.servers.program import ENGINE

AWAY = "another-machine:1:boot:x"
"""The owner of a run on another machine, so that only the lease shows whether it is alive."""


@dataclass
class Crawls:
    """Runs the spiders of a settings file one after another on one store, in this process. browser: the URL of one that runs already, or ""."""

    folder: Path
    store: Store
    settings: Settings = field(init=False)
    number: int = 0
    browser: str = ""

    def write(self, toml: str) -> None:
        engine = "" if "fast_engine" in toml else ENGINE
        browser = f'[browser]\nremote = "{self.browser}"\n' if self.browser else ""
        (self.folder / "settings.toml").write_text(f'[pipeline]\ndata_dir = "data"\n{engine}{browser}' + textwrap.dedent(toml))
        self.settings = load(self.folder / "settings.toml")

    def run(self, name: str = "s", *, while_running: Callable[[asyncio.Event], Any] | None = None,
            die: bool = False) -> Run:
        """Crawl once. die: leave the run without an ending, as a killed process would."""
        run = self._claimed(name, AWAY if die else self.store.owner)
        spider = self.settings.spiders[name]
        session = open_session(name, spider, self.settings)
        session.ensure_login()
        context = CrawlContext(store=self.store, run=run, table=spider, session=session, progress=Progress(),
                               starts=tuple(prepare(start) for start in spider.start), on_downloads=lambda: None,
                               browser=self.settings.browser, keep_pages=self.settings.keeps_pages(name), fast_engine=self.settings.pipeline.fast_engine)

        async def work() -> runs.Ending:
            stop = asyncio.Event()
            meanwhile = asyncio.create_task(while_running(stop)) if while_running else None
            ending = await crawl(context, spider_class(spider.spider, self.settings.folder), stop=stop)
            if meanwhile is not None:
                meanwhile.cancel()
            return ending

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ending = runner.run(work())
        if die:
            return run
        return runs.end_run(self.store, run, ending, context.progress, now=datetime.now(UTC))

    def perform(self, name: str = "s", *, clock: Callable[[], datetime] = lambda: datetime.now(UTC),
                on_stop: Callable[[], object] = lambda: None) -> Run:
        """Perform one run as a child does: login, crawl and downloads. on_stop: called when a stop is requested."""
        run = self._claimed(name, self.store.owner)
        ours, theirs = multiprocessing.Pipe()
        with ours, theirs:
            stop = StopRequest(theirs)
            stop.add_listener(on_stop)
            CrawlRun(self.store, self.settings, run, stop, clock=clock).perform()
        ended = runs.get_run(self.store, run.id)
        assert ended is not None
        return ended

    def _claimed(self, name: str, owner: str) -> Run:
        now = datetime.now(UTC)
        self.number += 1
        runs.claim_slot(self.store, name, f"slot {self.number}", due_at=now, reason="manual", now=now)
        run = runs.start_run(self.store, None, owner=owner, now=now, limit=99)
        assert run is not None
        return run

    def items(self, name: str = "s") -> dict[str, dict[str, Any]]:
        return {item.key: item.data for item in items.present(self.store, name)}

    def counts(self, run: Run) -> dict[str, RuleCount]:
        """What the rules matched in the pass of a run."""
        with self.store.read() as connection:
            return rule_counts.of_pass(connection, run.pass_id).rules

    def changes(self, run: Run) -> list[Change]:
        return list(digests.changes_of(self.store, [run.id]))


@pytest.fixture
def crawls(tmp_path: Path) -> Iterator[Crawls]:
    store = open_empty_store(tmp_path / "data")
    yield Crawls(tmp_path, store)
    store.close()


@pytest.fixture
def site() -> Iterator[PageSite]:
    with PageSite() as started:
        yield started


