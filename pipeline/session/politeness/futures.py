"""Results that one thread waits for and another thread sets."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

_LOOK_S = 0.05
Value = TypeVar("Value")


def set_result(future: Future[Value], value: Value) -> bool:
    """Set the result of a future. Return False if it was cancelled."""
    try:
        future.set_result(value)
    except InvalidStateError:
        return False
    return True


def set_error(future: Future[Any], error: Exception) -> None:
    """Let a future raise an error, unless it was cancelled."""
    try:
        future.set_exception(error)
    except InvalidStateError:
        return


def result_unless(future: Future[Value], stopped: threading.Event) -> Value | None:
    """Block until a future has a result, and return the result; None, and cancel the future, if the event is set first."""
    while not stopped.is_set():
        try:
            return future.result(_LOOK_S)
        except FutureTimeoutError:
            continue
    future.cancel()
    return None
