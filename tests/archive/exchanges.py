"""Exchanges for tests, and the command that checks archive files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.archive.format.redaction import Redaction
from pipeline.archive.writing.part_file import ClosedSegment
from pipeline.archive.writing.segment import SegmentWriter
from pipeline.model import Exchange

NOW = datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)
HTML = b"<!doctype html><title>Books</title><ul><li>One<li>Two</ul>"


def exchange(path: str = "/", *, after_s: float = 0, **changes: Any) -> Exchange:
    """Return an exchange of a page of HTML, with a cookie in each direction."""
    values: dict[str, Any] = {
        "url": path if "://" in path else f"https://www.books.example{path}", "at": NOW + timedelta(seconds=after_s), "method": "GET",
        "request_headers": ((b"Host", b"www.books.example"), (b"Cookie", b"sid=c0ffee"), (b"Accept", b"*/*")), "request_body": b"",
        "status": 200, "reason": b"OK",
        "response_headers": ((b"Content-Type", b"text/html; charset=utf-8"), (b"Set-Cookie", b"sid=c0ffee; Path=/; HttpOnly"), (b"ETag", b'"1"')),
        "body": HTML, "address": "192.0.2.7"}
    return Exchange(**values | changes)


def writer(folder: Path, **options: Any) -> SegmentWriter:
    return SegmentWriter(folder, "books", run_id=7, redaction=options.pop("redaction", Redaction()), **options)


def segment(folder: Path, *pages: Sequence[Exchange], now: datetime = NOW, **options: Any) -> ClosedSegment:
    """Write the pages to one segment, and return it."""
    segments = writer(folder, **options)
    segments.write(pages, now)
    [closed] = segments.close()
    return closed


def warcio_check(path: Path) -> str:
    """Return what the command `warcio check` says about a file: "" if it is valid."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "warcio.cli", "check", str(path)], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit code {done.returncode}")
