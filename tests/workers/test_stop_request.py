"""A stop request of the parent: the order of its listeners, and requests that come early or late."""

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
    stop.add_listener(lambda: called.append("host limits"))
    stop.add_listener(lambda: called.append("downloads"))
    stop.add_listener(lambda: called.append("crawl"), first=True)
    parent.send("stop")
    stop.poll()
    assert called == ["crawl", "host limits", "downloads"]


def test_a_stop_sent_before_the_child_was_ready_is_not_lost(parent_and_stop: tuple[Connection, StopRequest]) -> None:
    parent, stop = parent_and_stop
    stop.poll()
    assert not stop
    parent.send("stop")
    stop.poll()
    assert stop


def test_a_listener_added_after_the_stop_is_called_at_once(parent_and_stop: tuple[Connection, StopRequest]) -> None:
    _, stop = parent_and_stop
    stop.ask()
    called = threading.Event()
    stop.add_listener(called.set)
    assert called.is_set()
