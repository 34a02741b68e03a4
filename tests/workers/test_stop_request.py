"""A stop that the parent asks for: who hears of it, and in which order."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from pipeline.workers.stop_request import StopRequest


@pytest.fixture
def parent_and_stop() -> Iterator[tuple[Connection, StopRequest]]:
    parent, child = multiprocessing.Pipe()
    with parent, child:
        yield parent, StopRequest(child)


def test_the_crawl_is_stopped_before_the_downloads_that_may_take_seconds(parent_and_stop: tuple[Connection, StopRequest]) -> None:
    parent, stop = parent_and_stop
    called: list[str] = []
    stop.call(lambda: called.append("host limits"))
    stop.call(lambda: called.append("downloads"))
    stop.call(lambda: called.append("crawl"), before_others=True)
    parent.send("stop")
    stop.look()
    assert called == ["crawl", "host limits", "downloads"]


def test_a_stop_that_was_sent_before_the_child_was_ready_is_taken(parent_and_stop: tuple[Connection, StopRequest]) -> None:
    parent, stop = parent_and_stop
    stop.look()
    assert not stop
    parent.send("stop")
    stop.look()
    assert stop


def test_what_is_added_after_a_stop_is_called_at_once(parent_and_stop: tuple[Connection, StopRequest]) -> None:
    _, stop = parent_and_stop
    stop.ask()
    called = threading.Event()
    stop.call(called.set)
    assert called.is_set()
