"""`pipeline run --dry-run`: run spiders on a temporary store, and print their items."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.cli.foreground_run import demo_site, run_now
from pipeline.cli.rule_lines import rule_lines
from pipeline.model import DRY_RUN, Run
from pipeline.settings import Settings
from pipeline.store import Store, open_store
from pipeline.store.crawl import items as stored_items
from pipeline.store.crawl.rule_counts import rows_of_pass
from pipeline.store.from_settings import session_files_of
from pipeline.store.runs import runs
from pipeline.store.session_files import LocalSessionFiles, copy_all
from pipeline.workers.prepared_process import PreparedProcess


def run_dry(settings: Settings, names: Sequence[str], *, out: Callable[[str], None], show: TextIO,
            prepared: PreparedProcess | None = None) -> list[Run]:
    """Run spiders on an empty store that is deleted afterwards, and return the ended runs.

    The cookie jars and other session files of the spiders are copied to the temporary store, so that existing logins are used. No files are downloaded, and no slot is claimed in
    the real store. out: function that is called with each item as a line of JSON. show: stream to which progress and results are
    written. prepared: the process that prepare() has started for a single run; None if prepare() has started no process.
    """
    with _temporary_settings(settings, names) as temporary:
        store = open_store(temporary.data_dir, None)
        try:
            return asyncio.run(_perform(store, settings, temporary, names, show=show, prepared=prepared))
        finally:
            for name in names:
                _print(store, name, out=out, show=show)
            for run in runs.history(store, limit=len(names)):
                for line in rule_lines(rows_of_pass(store, run.spider, run.pass_id)):
                    show.write(f"{run.spider}: {line}\n")
            store.close()


async def _perform(store: Store, settings: Settings, temporary: Settings, names: Sequence[str], *,
                   show: TextIO, prepared: PreparedProcess | None) -> list[Run]:
    async with demo_site(settings, names):
        return await run_now(store, temporary, names, show=show, reason=DRY_RUN, prepared=prepared)


@contextmanager
def _temporary_settings(settings: Settings, spiders: Sequence[str]) -> Iterator[Settings]:
    """Provide, for a `with` block, a copy of the settings with a temporary data_dir."""
    with tempfile.TemporaryDirectory(prefix="pipeline-dry-run-") as folder:
        for spider in spiders:
            with session_files_of(settings, spider) as stored:
                copy_all(stored, LocalSessionFiles(Path(folder, "jars"), spider))
        place = settings.pipeline.model_copy(update={"data_dir": folder, "database": None})
        values = {name: getattr(settings, name) for name in Settings.model_fields}
        yield Settings.model_construct(**values | {"pipeline": place})


def _print(store: Store, name: str, *, out: Callable[[str], None], show: TextIO) -> None:
    for item in stored_items.present(store, name):
        out(json.dumps(item.data, ensure_ascii=False))
    for reject in stored_items.rejected(store, name):
        show.write(f"{name}: item rejected: {reject.reason} ({reject.url}): {json.dumps(reject.data, ensure_ascii=False)}\n")
    for url in stored_items.download_urls(store, name):
        show.write(f"{name}: a real run would download {url}\n")
