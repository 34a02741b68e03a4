"""Tests of the process that examines a text of a user.

Its result, its time limit, and its unexpected end.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SpiderError
from pipeline.settings import load
from pipeline.workers.forkserver import warm_up
from pipeline.workers.page_task import examine_text


def test_a_text_that_takes_too_long_or_ends_the_process_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("")
    settings = load(tmp_path / "settings.toml")
    warm_up()

    async def examine(text: str, limit_s: float = 60.0) -> dict[str, Any]:
        return await examine_text(settings, "tests.workers.hostile_text", text, limit_s=limit_s, memory_limit_bytes=2**31)

    assert asyncio.run(examine("harmless")) == {"text": "harmless"}
    with pytest.raises(SpiderError, match="stopped after 0 s"):
        asyncio.run(examine("endless", 0.3))
    with pytest.raises(SpiderError, match="ended unexpectedly"):
        asyncio.run(examine("deadly"))
