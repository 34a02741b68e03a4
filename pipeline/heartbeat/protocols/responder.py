"""Computes the answers to commands, and echoes other text, for both lines and datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, tzinfo

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.protocols.commands import Command, ImmediateCommand, SnapshotCommand, help_line, parse
from pipeline.heartbeat.protocols.http_detection import is_request_line
from pipeline.heartbeat.snapshot.cache import SnapshotCache
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.text import decode_line, escape_line, stamp


class Responder:
    """Computes the answers to lines and datagrams.

    zone: the time zone of timestamps. clock: returns the current time, with a time zone.
    """

    def __init__(self, cache: SnapshotCache, zone: tzinfo, clock: Callable[[], datetime], access: AccessPolicy) -> None:
        self.clock = clock
        self.access = access
        self.help = help_line()
        self._cache = cache
        self._zone = zone
        self._stamped = (0, "")

    def timestamp(self) -> str:
        """Return the current date and time as text. The text is formatted once a second and then reused."""
        now = self.clock()
        second = int(now.timestamp())
        if second != self._stamped[0]:
            self._stamped = (second, stamp(now, self._zone))
        return self._stamped[1]

    async def snapshot(self) -> Snapshot:
        return await self._cache.get(self.clock())

    def echo(self, text: str) -> str:
        return f"[{self.timestamp()}] {escape_line(text)}"

    def answer_simple(self, line: bytes) -> str | None:
        """Return the answer to a line that needs neither the connection nor a snapshot, otherwise None.

        Returns None for an HTTP request line as well, and for a blank line, because an HTTP request may follow.
        """
        if not line.strip(b"\r") or is_request_line(line):
            return None
        text = decode_line(line.removesuffix(b"\r"))
        command, argument = parse(text)
        return self.answer_now(text, command, argument)

    def answer_now(self, text: str, command: Command | None, argument: str) -> str | None:
        """Return the answer to a parsed line that needs neither the connection nor a snapshot, otherwise None."""
        if command is None:
            return self.echo(text)
        return command.answer(self, argument) if isinstance(command, ImmediateCommand) else None

    async def answer_from_snapshot(self, command: SnapshotCommand, argument: str) -> str:
        """Return the answer as one line, with control characters in scraped text escaped."""
        snapshot = await self.snapshot()
        if command.large:
            return await asyncio.to_thread(lambda: escape_line(command.answer(snapshot, argument)))
        return escape_line(command.answer(snapshot, argument))
