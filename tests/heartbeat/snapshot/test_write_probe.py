"""Tests of the write probe of the database."""

from __future__ import annotations

import asyncio
import threading
import time

from pipeline.heartbeat.snapshot.loop_health import LoopHealth, with_service_health
from pipeline.heartbeat.snapshot.write_probe import WriteProbe
from pipeline.store import open_store
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.open_files import open_files
from pipeline.store.health import write_probe
from tests.heartbeat.conftest import NOW, empty


async def probed(write):
    probe = WriteProbe(write)
    probe.start()
    async with asyncio.timeout(20):
        while not (problem := probe.problem(0, after_s=1e9)):
            await asyncio.sleep(0)
    await probe.stop()
    return problem


def test_an_object_store_that_does_not_answer_is_degraded(tmp_path):
    storage = ObjectStorage("files", endpoint="http://127.0.0.1:1", access_key="a", secret_key="b")
    files = open_files(tmp_path, storage)
    problem = asyncio.run(probed(lambda: files.quick.exists("a")))
    assert problem.startswith("s3://files/a: the object store cannot be used")
    told = with_service_health(empty(), LoopHealth().status(0), no_storage=problem)
    assert (told["health"], told["reasons"]) == ("degraded", [f"storage: {problem}"])


def test_a_database_that_cannot_be_written_is_failing(tmp_path):
    store = open_store(tmp_path / "var")
    write_probe.write_pulse(store, now=NOW)
    write_probe.write_pulse(store, now=NOW)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")

    problem = asyncio.run(probed(lambda: write_probe.write_pulse(store, now=NOW)))
    assert "readonly" in problem or "cannot" in problem
    told = with_service_health(empty(), LoopHealth().status(0), unwritable=problem)
    assert told["health"] == "failing"
    assert told["reasons"] == [f"store: {problem}"]
    assert told["store"] == {"readable": True, "writable": False, "error": problem, "size_bytes": None}
    store.close()


def test_a_write_that_hangs_is_noticed_while_it_hangs():
    async def story():
        released, began = threading.Event(), threading.Event()

        def write():
            began.set()
            released.wait(10)

        probe = WriteProbe(write)
        probe.start()
        await asyncio.to_thread(began.wait, 10)
        loop_clock = time.monotonic()
        soon, later = probe.problem(loop_clock + 1, after_s=15), probe.problem(loop_clock + 20, after_s=15)
        released.set()
        await probe.stop()
        return soon, later

    soon, later = asyncio.run(story())
    assert soon == ""
    assert later.startswith("a test write to the database has not finished after ")
