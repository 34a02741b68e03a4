"""Bulk inserts: our insert_rows beside SQLAlchemy's executemany and insertmanyvalues.

On both databases.

    python -m benchmarks.libraries.bulk

Each round commits 100 pages of 10 new items and 20 new links, as a crawl does, in turns; the first round warms up.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert

from pipeline.model import Item, Outcome, Page, Progress, Request
from pipeline.store import Store, open_store
from pipeline.store.crawl import commit, frontier
from pipeline.store.database.bulk import Each, insert_of, insert_rows
from pipeline.store.runs import runs
from tests.servers.postgres import Postgres, program

PAGES, ITEMS, LINKS, ROUNDS = 100, 10, 20, 9
Insert = Callable[..., None]


def _rows(count: int, columns: dict[str, Any]) -> list[dict[str, Any]]:
    each = [value if isinstance(value, Each) else repeat(value) for value in columns.values()]
    return [dict(zip(columns, row, strict=True)) for _, row in zip(range(count), zip(*each, strict=False), strict=False)]


def executemany(connection: Connection, table: Table, count: int, *, new_only: bool = False, **columns: Any) -> None:
    """`connection.execute(insert(table), rows)`."""
    if count:
        statement = insert_of(connection)(table)
        connection.execute(statement.on_conflict_do_nothing() if new_only else statement, _rows(count, columns))


def insertmanyvalues(connection: Connection, table: Table, count: int, *, new_only: bool = False, **columns: Any) -> None:
    """One INSERT of many rows: SQLAlchemy writes it for a statement with RETURNING."""
    if count:
        statement = insert_of(connection)(table) if new_only else insert(table)
        statement = statement.on_conflict_do_nothing() if new_only else statement
        connection.execute(statement.returning(next(iter(table.primary_key))), _rows(count, columns)).all()


VARIANTS: dict[str, Insert] = {"ours": insert_rows, "executemany": executemany, "insertmanyvalues": insertmanyvalues}


def round_of(store: Store, number: int, insert_with: Insert) -> tuple[float, float]:
    """Seconds and CPU seconds of the commits of one run."""
    commit.insert_rows = frontier.insert_rows = insert_with  # type: ignore[attr-defined]
    commit.ready = ((lambda connection, column, values: Each(values)) if insert_with is not insert_rows else READY)  # type: ignore[attr-defined]
    commit.Ready = Each if insert_with is not insert_rows else READY_TYPE  # type: ignore[attr-defined]
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    runs.claim_slot(store, "shop", str(now), due_at=now, reason="schedule", now=now)
    run = runs.start_run(store, None, owner=store.owner, now=now, limit=9)
    assert run is not None
    batches = [[Page(f"http://shop.example/{number}/{page}", 200, now, items=tuple(
        Item(f"http://shop.example/{number}/{page}/{item}", {"name": f"item {item}", "price": item, "about": "a few words of text"})
        for item in range(ITEMS)), links=tuple(Request(f"http://shop.example/{number}/{page}/links/{link}") for link in range(LINKS)))
        for page in range(first, first + 10)] for first in range(0, PAGES, 10)]
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        commit.commit_pages(store, run, batch, now=now)
    took = time.perf_counter() - began, time.process_time() - cpu
    with store.read() as connection:
        count = connection.exec_driver_sql(f"SELECT count(*) FROM items WHERE pass_id = {run.pass_id}").scalar_one()
    assert count == PAGES * ITEMS, count
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED, complete=True), Progress(), now=now)
    return took


READY, READY_TYPE = commit.ready, commit.Ready


def compare(name: str, store: Store) -> None:
    took: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
    for number in range(ROUNDS + 1):
        for place, (variant, insert_with) in enumerate(VARIANTS.items()):
            found = round_of(store, number * len(VARIANTS) + place, insert_with)
            took[variant] += [found] if number else []
    rows = PAGES * ITEMS
    for variant, figures in took.items():
        seconds, cpu = (statistics.median(each) for each in zip(*figures, strict=True))
        print(f"{name:12}{variant:18}{rows / seconds:9,.0f} items/s   CPU {cpu / rows * 1e6:6.0f} µs an item")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with closing(open_store(Path(folder, "sqlite"))) as store:
            compare("SQLite", store)
        if program("initdb"):
            server = Postgres()
            try:
                with closing(open_store(Path(folder, "postgresql"), server.new_database())) as store:
                    compare("PostgreSQL", store)
            finally:
                server.close()


if __name__ == "__main__":
    main()
