"""The pages and the API on the event loop of the service.

tests/heartbeat/protocols/ shows that asyncio's own serves HTTP alike.
"""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from tests.servers.loop import loop_thread


@pytest.fixture(params=["uvloop"])
def run(request):
    with loop_thread(asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop) as run:
        yield run
