"""Compile in the process that forks commands what each of them would compile again.

SQL statements, expressions, models of the API.

Two runs of a spider and a digest in this process compile what every run and every mail needs. They leave no thread and no file behind.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

from pipeline.heartbeat.http.api.resources import all_routes
from pipeline.mail.digests.build import build
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.mail import digests
from pipeline.store.runs import runs
from pipeline.workers.crawl_run import CrawlRun
from pipeline.workers.stop_request import StopRequest
from tests.compiled_once import compile_once
from tests.folder_in_memory import folder_in_memory
from tests.servers.pages import PageSite

SETTINGS = """
[pipeline]
data_dir = "data"
[spiders.s]
start = "{url}/"
items.each = "li"
items.key = ["name"]
items.fields.name = "b"
[digests.d]
spiders = ["s"]
to = ["me@example.com"]
"""


def warm_up() -> None:
    compile_once()
    all_routes()
    with tempfile.TemporaryDirectory(dir=folder_in_memory()) as name, PageSite({"/": "<li><b>x</b></li>"}) as site:
        file = Path(name, "settings.toml")
        file.write_text(SETTINGS.format(url=site.url), "utf-8")
        store = open_store(Path(name, "data"))
        for number in range(2):
            _run(store, load(file), f"slot {number}")
        now = datetime.now(UTC)
        claim = digests.claim(store, "d", ["s"], "slot", owner=store.owner, now=now)
        assert claim is not None
        build(store, load(file), claim, owner=store.owner, now=now)
        store.close()
    assert threading.enumerate() == [threading.main_thread()], "a process that forks must have one thread"


def _run(store: Store, settings: Settings, slot: str) -> None:
    now = datetime.now(UTC)
    runs.claim_slot(store, "s", slot, due_at=now, reason="manual", now=now)
    run = runs.start_run(store, None, owner=store.owner, now=now, limit=1)
    assert run is not None
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        CrawlRun(store, settings, run, StopRequest(theirs)).perform()
