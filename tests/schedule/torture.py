"""Two services started on the same data at once, a hundred times: never two passes of one slot.

    python -m tests.schedule.torture --rounds 100
    python -m tests.schedule.torture --rounds 100 --database postgresql://user@host/name

Two processes with the service's own code open the same store at the same moment (new in every round, so that they
meet in its first migration, too), plan the same schedules, claim what is due and start what waits. On PostgreSQL a
round has a schema of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, select

from pipeline.model import Outcome
from pipeline.schedule.claims import claim_due, open_schedules
from pipeline.settings import load
from pipeline.store import Store, open_store
from pipeline.store.database.schema import passes, slots
from pipeline.store.database.schema import runs as run_rows
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up

SPIDERS = 6
SCHEDULE = '["every 10s", { when = "* * * * *", jitter = "20s" }, { when = "*/3 9-17 * * *", timezone = "Asia/Tokyo" }]'
NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
LOOKS = 4


def service(pipe: Connection, barrier: Any) -> None:
    """Rounds, each a start at the given store, until there are no more. Answers with what it claimed and started."""
    while (order := pipe.recv()) is not None:
        folder, url = order
        barrier.wait(60)
        try:
            with contextlib.closing(open_store(folder / "data", url)) as store:
                pipe.send(_serve(store, folder))
        except Exception as error:  # noqa: BLE001  told by the other end
            pipe.send(error)


def _serve(store: Store, folder: Path) -> tuple[list[tuple[str, str]], list[int]]:
    plans = open_schedules(store, load(folder / "settings.toml"), now=NOW)
    claimed, started = [], []
    for look in range(LOOKS):
        now = NOW + look * timedelta(seconds=25)
        claimed += [(run.spider, str(run.slot_id)) for run in claim_due(store, plans, now=now)]
        while (run := runs.start_run(store, None, owner=store.owner, now=now, limit=SPIDERS)) is not None:
            started.append(run.id)
            if run.id % 3:
                runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), None, now=now)
    return claimed, started


def torture(folder: Path, rounds: int, url: str | None = None) -> Counter[str]:
    """Raises AssertionError where a slot was had twice."""
    warm_up()  # a process of tests has one forkserver, which must have loaded what the processes of runs need
    context = multiprocessing.get_context("forkserver")
    barrier = context.Barrier(2)
    pairs = [context.Pipe() for _ in range(2)]
    services = [context.Process(target=service, args=(far, barrier), daemon=True) for _, far in pairs]
    for each in services:
        each.start()
    tally: Counter[str] = Counter()
    try:
        for number in range(rounds):
            place = folder / str(number)
            place.mkdir()
            (place / "settings.toml").write_text("".join(
                f'[spiders.s{spider}]\nstart = "http://127.0.0.1:9/"\nschedule = {SCHEDULE}\n' for spider in range(SPIDERS)))
            address = _own_schema(url, f"round_{os.getpid()}_{number}") if url else None
            for near, _ in pairs:
                near.send((place, address))
            answers = [near.recv() if near.poll(120) else TimeoutError("no answer") for near, _ in pairs]
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            _prove(place, address, answers, tally)
    finally:
        for near, _ in pairs:
            near.send(None)
        for each in services:
            each.join(20)
            each.kill()
    return tally


def _own_schema(url: str, name: str) -> str:
    address = make_url(url)
    engine = create_engine(address.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    return address.update_query_dict({"options": f"-c search_path={name}"}).render_as_string(hide_password=False)


def _prove(place: Path, url: str | None, answers: list[tuple[list[tuple[str, str]], list[int]]], tally: Counter[str]) -> None:
    store = open_store(place / "data", url)
    try:
        with store.read() as connection:
            of_slot = connection.execute(select(slots.c.spider, slots.c.key)).all()
            of_pass = connection.execute(select(passes.c.slot_id)).scalars().all()
            begun = connection.execute(select(run_rows.c.id).where(run_rows.c.started_at.is_not(None))).scalars().all()
    finally:
        store.close()
    claimed = [slot for found, _ in answers for slot in found]
    started = [run for _, found in answers for run in found]
    assert len(set(of_slot)) == len(of_slot), "a slot is there twice"
    assert len(set(of_pass)) == len(of_pass), "a slot has two passes"
    assert len(set(claimed)) == len(claimed) == len(of_slot), "a slot was claimed by both"
    assert len(set(started)) == len(started) == len(begun), "a run was started by both"
    assert len(of_slot) >= SPIDERS * LOOKS // 2, "schedules were forgotten"
    tally["slots"] += len(of_slot)
    tally["claimed by the first"] += len(answers[0][0])
    tally["claimed by the second"] += len(answers[1][0])
    tally["runs started"] += len(started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--database", help="PostgreSQL by URL; SQLite without it")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(Path(folder), given.rounds, given.database)
    print(f"{given.rounds} starts of two services at once in {time.monotonic() - began:.0f} s: "
          + ", ".join(f"{count} {name}" for name, count in tally.items()))


if __name__ == "__main__":
    main()
