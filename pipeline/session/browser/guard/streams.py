"""Byte streams: over a socket, with bytes that were read ahead, and with TLS over any other stream."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from pipeline.session.responses.head import end_of_head

CHUNK_BYTES = 64 * 1024
IDLE_S = 300.0
"""How long a connection may stay without any data."""
_WRITE_S = 60.0


class Stream(Protocol):
    """A connection, or a layer over one. Its methods raise OSError or TimeoutError if it breaks."""

    async def read(self) -> bytes:
        """Return the next received bytes, at most CHUNK_BYTES; b"" at the end of the stream."""

    async def write(self, data: bytes) -> None:
        """Send bytes, and wait while too many of them are still unsent."""

    def close(self, *, abort: bool = False) -> None:
        """Close the connection after what was written has been sent; abort: at once, by a reset."""

    @property
    def ended(self) -> bool:
        """Whether the other side is known to have closed the connection."""


class SocketStream:
    """A stream over a TCP connection of asyncio. received: called with the number of bytes of each read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Callable[[int], None] = lambda count: None) -> None:
        self._reader, self._writer, self._received = reader, writer, received

    async def read(self) -> bytes:
        data = await self._reader.read(CHUNK_BYTES)
        self._received(len(data))
        return data

    async def write(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            raise ConnectionResetError
        transport.write(data)
        if transport.get_write_buffer_size():
            async with asyncio.timeout(_WRITE_S):
                await self._writer.drain()

    def close(self, *, abort: bool = False) -> None:
        if abort:
            self._writer.transport.abort()
        else:
            self._writer.close()

    @property
    def ended(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()


class BufferedStream:
    """A stream whose received bytes can be read up to the end of a head, or be put back."""

    def __init__(self, inner: Stream) -> None:
        self._inner = inner
        self._ahead = bytearray()
        self.write = inner.write
        self.close = inner.close

    async def read(self) -> bytes:
        if self._ahead:
            data = bytes(self._ahead[:CHUNK_BYTES])
            del self._ahead[:len(data)]
            return data
        return await self._inner.read()

    def put_back(self, data: bytes) -> None:
        self._ahead[:0] = data

    async def head(self, timeout_s: float) -> bytes:
        """Return the bytes up to and including the next empty line; b"" if the stream ends before them.

        Raises HeadError for more than MAX_HEAD_BYTES, ConnectionResetError if the stream ends within the head, and TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                end = end_of_head(self._ahead)
                if end >= 0:
                    head = bytes(self._ahead[:end])
                    del self._ahead[:end]
                    return head
                data = await self._inner.read()
                if not data and not self._ahead:
                    return b""
                if not data:
                    raise ConnectionResetError
                self._ahead += data

    @property
    def ended(self) -> bool:
        return not self._ahead and self._inner.ended


class TlsStream:
    """TLS over another stream, so that TLS inside TLS works, too (a site behind an HTTPS proxy)."""

    def __init__(self, inner: Stream, context: ssl.SSLContext, *, host: str | None = None, server_side: bool = False) -> None:
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=host)

    async def handshake(self, timeout_s: float) -> None:
        """Perform the TLS handshake. Raises ssl.SSLError if it fails, and TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._receive()
                except ssl.SSLError:
                    await self._flush()  # the alert
                    raise
                else:
                    return await self._flush()

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(CHUNK_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # as browsers do, a missing close_notify counts as the end
                return b""

    async def write(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    def close(self, *, abort: bool = False) -> None:
        self._inner.close(abort=abort)

    @property
    def ended(self) -> bool:
        return self._inner.ended

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._inner.write(data)

    async def _receive(self) -> None:
        if data := await self._inner.read():
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


async def relay(one: Stream, other: Stream) -> None:
    """Pass on what arrives on each of two streams to the other; close both when one of them ends.

    They are closed, too, if nothing arrives on either for IDLE_S.
    """
    passed = 0

    async def pump(source: Stream, target: Stream) -> None:
        nonlocal passed
        while data := await source.read():
            passed += 1
            await target.write(data)

    pumps = [asyncio.ensure_future(pump(one, other)), asyncio.ensure_future(pump(other, one))]
    try:
        before = -1
        while passed != before:
            before = passed
            done, _ = await asyncio.wait(pumps, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
    finally:
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        one.close()
        other.close()
