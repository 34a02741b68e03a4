"""Tests of the log filter for errors of HTTP requests."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import BadStatusLine

from pipeline.heartbeat.http.error_log import ErrorLogFilter


def record_of(error):
    try:
        raise error  # noqa: TRY301  it needs a traceback
    except Exception as caught:  # noqa: BLE001
        return logging.makeLogRecord({"msg": "x", "exc_info": (type(caught), caught, caught.__traceback__)})


def test_client_errors_are_not_logged_and_others_are_one_line_at_most_once_a_minute():
    now = [0.0]
    log = ErrorLogFilter(every_s=60, clock=lambda: now[0])
    assert not log.filter(record_of(BadStatusLine("rubbish")))
    first = record_of(LookupError("unknown encoding: \x1b[2Jzlib\nforged line"))
    assert log.filter(first)
    assert first.getMessage().startswith("an HTTP request to the heartbeat failed: LookupError: unknown encoding: \\x1b[2Jzlib forged line")
    assert "record_of" in first.getMessage()
    assert first.exc_info is None
    assert "\n" not in first.getMessage()
    assert not any(log.filter(record_of(ValueError("x"))) for _ in range(1000))
    now[0] = 61.0
    later = record_of(ValueError("x"))
    assert log.filter(later)
    assert later.getMessage().endswith("; 1000 more errors since the last such message")


def test_lines_without_an_error_pass():
    assert ErrorLogFilter().filter(logging.makeLogRecord({"msg": "ready"}))
