"""The same short questions in datagrams: one packet in, one packet out, or none.

What is answered can neither flood nor echo for ever: an answer fits one packet, each source has a budget, another
machine gets no more bytes than it sent (a source address can be forged: RFC 9000 section 8 bounds it, too), and what looks like an answer of such a server is dropped, so that two of them cannot be set on each other.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections import OrderedDict
from typing import Any, cast

from pipeline.heartbeat.connections.limits import Limits
from pipeline.heartbeat.protocols.lines import Replies
from pipeline.text import decode_line

_log = logging.getLogger(__name__)
_AN_ANSWER = re.compile(rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ")
_TOO_LONG = b"error: the answer is longer than a packet, or than the question; ask over TCP"
_SOURCES = 4096
_AT_WORK = 64


class Budget:
    """A token bucket: `rate` a second, twice that at once."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = 2 * rate
        self._at = now

    def spend(self, now: float) -> bool:
        self._left = min(2 * self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Datagrams(asyncio.DatagramProtocol):
    """Answers datagrams; silence is the answer to those that must not have one."""

    def __init__(self, replies: Replies, limits: Limits) -> None:
        self._replies = replies
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._in_all = Budget(limits.datagrams_in_all_per_s, self._loop.time())
        self._sources: OrderedDict[str, Budget] = OrderedDict()
        self._at_work: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is not derived from asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._at_work:
            task.cancel()

    def error_received(self, exc: Exception) -> None:
        """Somebody who asked is gone already (ICMP port unreachable)."""
        _log.debug("datagram not delivered: %s", exc)

    def datagram_received(self, data: bytes, source: tuple[Any, ...]) -> None:
        if not self._may_answer(data, source):
            return
        text = decode_line(data.rstrip(b"\r\n")) or "status"
        if text.startswith("token "):
            return  # a datagram is no place for it
        reply = self._replies.at_once(text)
        if isinstance(reply, str):
            self._send(reply, source, len(data))
        elif self._replies.access.trusts(source[0]) and len(self._at_work) < _AT_WORK:
            task = self._loop.create_task(self._look_up(text, source, len(data)), name="heartbeat-datagram")
            self._at_work.add(task)
            task.add_done_callback(self._looked_up)

    def _may_answer(self, data: bytes, source: tuple[Any, ...]) -> bool:
        address = ipaddress.ip_address(source[0].partition("%")[0])
        # The kernel itself refuses to send to a broadcast address, since SO_BROADCAST is off.
        if address.is_multicast or address.is_unspecified or source[1] == 0:
            return False
        if not self._replies.access.admits(source[0]):
            return False
        if len(data) > self._limits.datagram_bytes or _AN_ANSWER.match(data):
            return False
        now = self._loop.time()
        budget = self._sources.pop(source[0], None) or Budget(self._limits.datagrams_per_s, now)
        self._sources[source[0]] = budget
        if len(self._sources) > _SOURCES:
            self._sources.popitem(last=False)
        return budget.spend(now) and self._in_all.spend(now)

    async def _look_up(self, text: str, source: tuple[Any, ...], asked_bytes: int) -> None:
        self._send(await self._replies.looked_up(text), source, asked_bytes)

    def _looked_up(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("no answer", exc_info=error)

    def _send(self, answer: str, source: tuple[Any, ...], asked_bytes: int) -> None:
        most = self._limits.datagram_bytes
        if not self._replies.access.is_local(source[0]):
            most = min(most, asked_bytes)
        body = answer.encode("utf-8", "backslashreplace")
        if len(body) > most:
            body = _TOO_LONG
        if len(body) < most:
            body += b"\n"
        if len(body) <= most and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(body, source)
