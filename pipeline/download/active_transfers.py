"""Downloads under way, and what a run's downloads have come to."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field

import requests

from pipeline.download.storage import filenames
from pipeline.model import QueuedDownload, Transfer


@dataclass(frozen=True)
class Figures:
    """What this run's downloads have come to. unchanged: those of `done` that did not have to be fetched."""

    done: int = 0
    unchanged: int = 0
    failed: int = 0
    bytes: int = 0
    active: tuple[Transfer, ...] = ()


@dataclass
class Transferring:
    """A download that a worker fetches, or is about to."""

    wanted: QueuedDownload
    stopped: threading.Event = field(default_factory=threading.Event)
    started_s: float = field(default_factory=time.monotonic)
    offset: int = 0
    received: int = 0
    total: int | None = None
    line: socket.socket | None = None
    begun: bool = False

    def answered(self, response: requests.Response, offset: int, total: int | None) -> None:
        self.offset, self.total, self.started_s = offset, total, time.monotonic()
        self.hang_up()
        # A duplicate of the descriptor: shutting it down ends a read in the worker's thread at once, over TLS
        # too, and it cannot have become somebody else's in the meantime.
        with contextlib.suppress(OSError, AttributeError, ValueError):
            self.line = socket.socket(fileno=os.dup(response.raw.fileno()))

    def stop(self) -> None:
        self.stopped.set()
        line = self.line
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        line, self.line = self.line, None
        if line is not None:
            line.close()

    def figures(self, now_s: float) -> Transfer:
        wanted = self.wanted
        return Transfer(
            name=filenames.safe(wanted.name) or filenames.safe(filenames.from_url(wanted.url)) or "download",
            done_bytes=self.offset + self.received, total_bytes=self.total,
            rate_bytes_s=self.received / max(now_s - self.started_s, 1e-3))
