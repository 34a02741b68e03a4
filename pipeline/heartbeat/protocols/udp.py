"""The heartbeat commands over UDP: each datagram is answered with one datagram or not at all.

An attacker cannot use the server to flood other hosts. Each answer fits into one packet, and the rate of answers to
each source address is limited. A client on another machine gets no more bytes than it sent, because a source address can
be forged (RFC 9000 section 8 limits amplification for the same reason). Two servers cannot answer each other forever,
because a datagram that looks like an answer is dropped.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections import OrderedDict
from typing import Any, cast

from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.protocols.commands import TOKEN, SnapshotCommand, parse
from pipeline.heartbeat.protocols.responder import Responder
from pipeline.heartbeat.token_bucket import TokenBucket
from pipeline.text import decode_line

_log = logging.getLogger(__name__)
_AN_ANSWER = re.compile(rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ")
_TOO_LONG = b"error: the answer is longer than a packet, or longer than the request; use TCP"
_MOST_SOURCES = 4096
_MOST_TASKS = 64


def _bucket(rate: float, now: float) -> TokenBucket:
    """Return a rate limiter that allows `rate` datagrams per second on average, and bursts of twice this number."""
    return TokenBucket(rate, 2 * rate, now)


class UdpProtocol(asyncio.DatagramProtocol):
    """Answers datagrams. A datagram that must not be answered is dropped without a log message."""

    def __init__(self, responder: Responder, limits: ServerLimits) -> None:
        self._responder = responder
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._all_sources = _bucket(limits.datagrams_in_all_per_s, self._loop.time())
        self._sources: OrderedDict[str, TokenBucket] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's transport is not a subclass of asyncio.DatagramTransport

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def error_received(self, exc: Exception) -> None:
        """Log that an answer could not be delivered, because the client has closed its port (ICMP error)."""
        _log.debug("the answer to a UDP datagram was not delivered: %s", exc)

    def datagram_received(self, data: bytes, source: tuple[Any, ...]) -> None:
        if not self._may_answer(data, source):
            return
        text = decode_line(data.rstrip(b"\r\n")) or "status"
        command, argument = parse(text)
        if command is TOKEN:
            return  # a token must not be sent unencrypted, and a datagram belongs to no connection that could be authenticated
        if isinstance(command, SnapshotCommand):
            allowed = not command.needs_token or self._responder.access.may_read_status(source[0])
            if allowed and len(self._tasks) < _MOST_TASKS:
                task = self._loop.create_task(self._answer_later(command, argument, source, len(data)), name="heartbeat-datagram")
                self._tasks.add(task)
                task.add_done_callback(self._task_ended)
            return
        answer = self._responder.answer_now(text, command, argument)
        self._send(self._responder.echo(text) if answer is None else answer, source, len(data))

    def _may_answer(self, data: bytes, source: tuple[Any, ...]) -> bool:
        address = ipaddress.ip_address(source[0].partition("%")[0])
        # Broadcast addresses need no check: the kernel refuses to send to them unless SO_BROADCAST is set.
        if address.is_multicast or address.is_unspecified or source[1] == 0:
            return False
        if not self._responder.access.may_connect(source[0]):
            return False
        if len(data) > self._limits.datagram_bytes or _AN_ANSWER.match(data):
            return False
        now = self._loop.time()
        bucket = self._sources.pop(source[0], None) or _bucket(self._limits.datagrams_per_s, now)
        self._sources[source[0]] = bucket
        if len(self._sources) > _MOST_SOURCES:
            self._sources.popitem(last=False)
        return bucket.take(now) and self._all_sources.take(now)

    async def _answer_later(self, command: SnapshotCommand, argument: str, source: tuple[Any, ...], asked_bytes: int) -> None:
        self._send(await self._responder.answer_from_snapshot(command, argument), source, asked_bytes)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("a heartbeat command that arrived as a UDP datagram failed because of a bug", exc_info=error)

    def _send(self, answer: str, source: tuple[Any, ...], asked_bytes: int) -> None:
        most = self._limits.datagram_bytes
        if not self._responder.access.is_local(source[0]):
            most = min(most, asked_bytes)
        body = answer.encode("utf-8", "backslashreplace")
        if len(body) > most:
            body = _TOO_LONG
        if len(body) < most:
            body += b"\n"
        if len(body) <= most and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(body, source)
