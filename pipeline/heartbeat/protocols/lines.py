"""The text protocol: the server answers each line with one line.

If a connection begins with an HTTP request line, the connection switches to HTTP. Text that is not a command is echoed
as `[timestamp] text`. Lines are in UTF-8 and end in LF or CRLF. A client may send any number of lines, and the server
answers them in order. The server never sends anything before the client does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.protocols.commands import ConnectionCommand, SnapshotCommand, parse
from pipeline.heartbeat.protocols.commands.status import health
from pipeline.heartbeat.protocols.commands.watch import watched_changes
from pipeline.heartbeat.protocols.http_detection import FirstBytes, classify
from pipeline.heartbeat.protocols.responder import Responder
from pipeline.text import decode_line, escape_line

_log = logging.getLogger(__name__)
_LINES_PER_TURN = 128
"""Maximum number of lines answered in one iteration of the event loop, before other clients are served."""
TOKEN_NEEDED = "error: a client on another machine needs the token for this command; send `token …` first (see `pipeline url`)"  # noqa: S105
_BUG = "error: the command failed because of a bug in the pipeline; the service's log contains the details"


class LineProtocol:
    """Reads lines from one connection and answers them one after the other.

    The server stops reading from the socket while an answer is being computed, and while the client does not read its
    answers. as_http: function that switches the connection to HTTP; it is called with all data received so far if the data
    begins with an HTTP request line. trusted: whether the client needs no token. first: whether no line on this connection
    has been answered yet; only then may the connection switch to HTTP.
    """

    __slots__ = ("_answers", "_as_http", "_buffer", "_eof", "_first", "_last_active", "_limits", "_loop", "_paused",
                 "_responder", "_skip_newline", "_task", "_timer", "_transport", "_trusted", "_undecided", "_watch", "closing")

    def __init__(self, transport: asyncio.Transport, responder: Responder, limits: ServerLimits,
                 as_http: Callable[[bytes], None], *, trusted: bool, first: bool = True) -> None:
        self._trusted = trusted
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._responder = responder
        self._limits = limits
        self._as_http = as_http
        self._buffer = bytearray()
        self._answers: list[str] = []
        self._timer: asyncio.Handle | None = None
        self._task: asyncio.Task[str] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._first = first
        self._undecided = False
        self._skip_newline = False
        self._eof = False
        self._paused = False
        self._last_active = self._loop.time()
        self.closing = False

    # Events of the connection

    def data_received(self, data: bytes) -> None:
        self._last_active = self._loop.time()
        if self.closing:
            return
        self._end_watch()
        self._buffer += data
        self._advance()

    def eof_received(self) -> None:
        """Handle the end of the client's input: answer the received lines, then close the connection.

        A client that has sent nothing gets the answer to `status`.
        """
        self._eof = True
        if self.closing:
            self._transport.close()
            return
        self._end_watch()
        if self._first and not self._buffer:
            self._buffer += b"status\n"
        self._advance()

    def pause_writing(self) -> None:
        """Stop answering until the client reads its answers."""
        self._paused = True
        self._last_active = self._loop.time()

    def resume_writing(self) -> None:
        self._paused = False
        self._last_active = self._loop.time()
        if not self.closing:
            self._advance()

    def connection_lost(self) -> None:
        self.closing = True
        for waiting in (self._timer, self._task, self._watch):
            if waiting is not None:
                waiting.cancel()

    def sweep(self, now: float) -> None:
        """Close the connection if the client has been idle, or has not read its answers, for too long."""
        silence = now - self._last_active
        if self._paused:
            if silence > self._limits.stalled_s:
                self._transport.abort()
        elif self._watch is None and self._task is None and silence > self._limits.idle_s:
            self._transport.close()

    # Taking lines from the buffer

    def _advance(self) -> None:
        """Answer the received lines, at most _LINES_PER_TURN of them, and decide what happens next.

        The method stops earlier if a line needs a snapshot, or if the client does not read its answers.
        """
        self._cancel_timer()
        for _ in range(_LINES_PER_TURN):
            line = self._next_line()
            if line is None:
                break
            self._answer(line)
        self._send()
        self._wait()

    def _wait(self) -> None:
        """Decide what happens next: answer more lines, read more data, wait for the end of a line, or close."""
        if self.closing:
            return
        if self._task is not None or self._paused:
            self._transport.pause_reading()
        elif self._buffer and not self._undecided and (self._eof or b"\n" in self._buffer):
            self._transport.pause_reading()
            self._timer = self._loop.call_soon(self._advance)
        else:
            self._transport.resume_reading()
            if self._buffer:
                quiet_s = self._limits.request_line_s if self._undecided else self._limits.quiet_s
                self._timer = self._loop.call_later(quiet_s, self._fell_quiet)
            elif self._eof:
                self._transport.close()

    def _next_line(self) -> bytes | None:
        """Return the next line without its line ending; None if no line can be answered now."""
        if self.closing or self._task is not None or self._paused:
            return None
        if self._skip_newline and self._buffer:
            self._skip_newline = not _drop_late_newline(self._buffer)
        end = self._buffer.find(b"\n")
        if (end if end >= 0 else len(self._buffer)) > self._limits.line_bytes:
            self.close(f"error: the line is longer than {self._limits.line_bytes} bytes; the connection is closed")
            return None
        if self._first and self._may_be_http():
            return None
        if end < 0:
            return self._rest() if self._eof and self._buffer else None
        self._first = False
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        return line.removesuffix(b"\r")

    def _may_be_http(self) -> bool:
        """Return whether the received data is, or may become, the beginning of an HTTP request.

        If the data is the beginning of an HTTP request, this method passes the data to `as_http`.
        """
        first_bytes = classify(self._buffer) if self._buffer else FirstBytes.LINES
        self._undecided = first_bytes is FirstBytes.UNDECIDED and not self._eof
        if first_bytes is FirstBytes.HTTP:
            self.closing = True
            self._cancel_timer()
            data = bytes(self._buffer).lstrip(b"\r\n")
            self._buffer.clear()  # as_http takes over the data
            self._as_http(data)
        return self._undecided or first_bytes is FirstBytes.HTTP

    def _rest(self) -> bytes:
        self._first = False
        line = bytes(self._buffer)
        self._buffer.clear()
        return line.removesuffix(b"\r")

    def _fell_quiet(self) -> None:
        self._timer = None
        self._first = self._undecided = False
        if b"\n" in self._buffer:  # the client sent only blank lines, which no HTTP request followed
            self._advance()
            return
        self._answer(self._rest())
        self._skip_newline = True
        self._send()
        self._wait()

    # Answering

    def _answer(self, line: bytes) -> None:
        """Answer a line immediately if possible, otherwise start a task. Any line ends a running `watch`."""
        self._end_watch()
        text = decode_line(line)
        command, argument = parse(text)
        if command is not None and command.needs_token and not self._trusted:
            self._answers.append(TOKEN_NEEDED)
        elif isinstance(command, ConnectionCommand):
            command.run(self, argument)
        elif isinstance(command, SnapshotCommand):
            self._task = self._loop.create_task(self._responder.answer_from_snapshot(command, argument), name="heartbeat-answer")
            self._task.add_done_callback(self._answered)
        else:
            answer = self._responder.answer_now(text, command, argument)
            self._answers.append(answer if answer is not None else _BUG)

    def _answered(self, task: asyncio.Task[str]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("a heartbeat command failed because of a bug", exc_info=error)
        self._task = None
        if not self.closing:
            self._answers.append(task.result() if error is None else _BUG)
            self._advance()

    def reply(self, line: str) -> None:
        self._answers.append(line)

    def authenticate(self, token: str) -> bool:
        """Return whether the token is correct; if so, trust the client from now on."""
        if not self._responder.access.accepts_token(token):
            return False
        self._trusted = True
        return True

    def start_watch(self) -> None:
        self._watch = self._loop.create_task(self._write_changes(), name="heartbeat-watch")
        self._watch.add_done_callback(self._watch_ended)

    async def _write_changes(self) -> None:
        """Perform `watch`: send a line now and on every change, until the client sends data or disconnects."""
        before = await self._responder.snapshot()
        self._answers.append(f"watching, {escape_line(health(before))}")
        self._send()
        async for lines in watched_changes(before, self._responder.snapshot, every_s=self._limits.watch_every_s,
                                           paused=lambda: self._paused):
            self._answers += [f"[{self._responder.timestamp()}] {escape_line(line)}" for line in lines]
            self._send()

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("the heartbeat command `watch` failed because of a bug", exc_info=error)
            if not self.closing:
                self.close(_BUG)

    def _send(self) -> None:
        if self._answers:
            text = "".join(f"{answer}\n" for answer in self._answers)
            self._answers.clear()
            self._transport.write(text.encode("utf-8", "backslashreplace"))

    def close(self, last_line: str) -> None:
        """Send a last line and close the connection.

        The server keeps reading input for `drain_s` seconds. If input stayed unread, the kernel would reset the connection,
        and the client might not receive the last line.
        """
        self._answers.append(last_line)
        self._send()
        self.closing = True
        self._buffer.clear()
        self._end_watch()
        if self._eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        with contextlib.suppress(OSError):  # the client has reset the connection; connection_lost follows
            self._transport.write_eof()
        self._transport.resume_reading()
        self._cancel_timer()
        self._timer = self._loop.call_later(self._limits.drain_s, self._transport.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _drop_late_newline(buffer: bytearray) -> bool:
    """Remove from the buffer the newline of a line that was answered before its newline arrived.

    Returns False if more data is needed to decide whether this newline has arrived.
    """
    if buffer.startswith(b"\r"):
        del buffer[:1]
    if not buffer:
        return False
    if buffer.startswith(b"\n"):
        del buffer[:1]
    return True
