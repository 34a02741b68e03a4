"""Tests of the rows of the overview that are sent to browsers, when they cannot be read."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pipeline.heartbeat.http.console.overview import live_rows
from pipeline.heartbeat.http.console.overview.live_rows import LiveRows, Overview


def test_streams_end_if_the_rows_cannot_be_read_and_the_next_subscriber_gets_rows_again(
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(live_rows, "EVERY_S", 0.01)
    heads = iter(["", "all is well"])

    async def read() -> Overview:
        return [], next(heads) or str(1 // 0)

    async def subscribe_twice() -> None:
        rows = LiveRows(read, lambda row: row.name)
        async with asyncio.timeout(20):
            assert await (await rows.subscribe(0)).get() is None, "the end of the stream, after which a browser connects again"
            assert "all is well" in str(await (await rows.subscribe(0)).get())
        await rows.stop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(subscribe_twice())
    assert "live rows of the overview have ended" in caplog.text
