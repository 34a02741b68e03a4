"""Tests of the cache of snapshots: how old a snapshot may be, and who waits for the next one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from pipeline.heartbeat.snapshot import cache as module
from pipeline.heartbeat.snapshot.build import unreadable_snapshot
from pipeline.heartbeat.snapshot.cache import HealthChecks, SnapshotCache
from pipeline.heartbeat.snapshot.loop_health import LoopHealth
from pipeline.heartbeat.snapshot.schema import Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Source:
    """Builds snapshots that tell their number, each once it may."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_build = asyncio.Event()
        self.may_build.set()

    async def status(self) -> Snapshot:
        self.begun += 1
        number = self.begun
        await self.may_build.wait()
        return unreadable_snapshot(str(number), started_at=NOW, now=NOW, version="1")


def test_a_snapshot_of_which_half_the_time_is_over_is_replaced_while_it_is_still_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_ask(monkeypatch))


async def _ask(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    source = Source()
    cache = SnapshotCache(source, LoopHealth(), HealthChecks(), started_at=NOW, version="1", fresh_s=1.0, patience_s=10.0)

    async def number() -> int:
        return int((await cache.get(NOW))["store"]["error"])

    assert await number() == 1
    source.may_build.clear()
    clock.now += 0.4
    assert (await number(), source.begun) == (1, 1)
    clock.now += 0.2
    assert await number() == 1  # and the next one is begun, for which nobody waits
    await asyncio.sleep(0)
    assert source.begun == 2
    clock.now += 0.5  # the first one is too old now
    waiting = asyncio.create_task(number())
    await asyncio.sleep(0)
    assert not waiting.done()
    source.may_build.set()
    assert await waiting == 2
    clock.now += 5
    assert (await number(), source.begun) == (3, 3)
    await cache.stop()
