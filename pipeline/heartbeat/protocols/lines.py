"""A line in, a line out: the text dialect of one connection.

The seed course's timestamp server grown up: any text comes back as `[timestamp] text`, LF or CRLF, UTF-8,
as many lines as a client likes, answered in order. The server never speaks first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime, tzinfo

from pipeline.heartbeat.access import Access
from pipeline.heartbeat.connections.limits import Limits
from pipeline.heartbeat.protocols.commands import HELP, Word, answered, changes, health, parsed
from pipeline.heartbeat.protocols.http_detection import Beginning, beginning_of, is_request_line
from pipeline.heartbeat.snapshot.cache import Latest
from pipeline.text import decode_line, escape_line, stamp

_log = logging.getLogger(__name__)
_OF_THE_CONNECTION = {"quit", "watch"}
_AT_A_TIME = 128
"""Lines answered before other clients have their turn."""
LOCKED = "error: from another machine this needs the token; say `token …` first (`pipeline url` shows it)"
_BUG = "error: no answer, this is a bug in the pipeline; its log has the details"


class Replies:
    """What text is answered with, whichever way it came in."""

    def __init__(self, latest: Latest, zone: tzinfo, clock: Callable[[], datetime], access: Access) -> None:
        self.latest = latest
        self.clock = clock
        self.access = access
        self._zone = zone
        self._stamped = (0, "")

    def stamp(self) -> str:
        """The date and time, formatted once a second."""
        now = self.clock()
        second = int(now.timestamp())
        if second != self._stamped[0]:
            self._stamped = (second, stamp(now, self._zone))
        return self._stamped[1]

    def at_once(self, text: str) -> str | Word:
        """The answer where it needs no snapshot, or else the word to look up."""
        word = text.strip()
        if word == "ping":
            return "pong"
        if word == "time":
            return self.stamp()
        if word == "help":
            return HELP
        found = parsed(text)
        return found[0] if found else f"[{self.stamp()}] {escape_line(text)}"

    def to_line(self, line: bytes) -> str | None:
        """The answer to a line that neither the connection nor the snapshot is needed for; None for all others.

        A blank line is among the others: an HTTP request may follow it.
        """
        if not line.strip(b"\r") or is_request_line(line):
            return None
        text = decode_line(line.removesuffix(b"\r"))
        word = text.strip()
        if word in _OF_THE_CONNECTION or word.startswith("token "):
            return None
        reply = self.at_once(text)
        return reply if isinstance(reply, str) else None

    async def looked_up(self, text: str) -> str:
        """The answer to a word of the snapshot."""
        found = parsed(text)
        assert found is not None
        return answered(found[0], await self.latest.get(self.clock()), found[1])


class Lines:
    """The state of one connection: what came in, what is being worked out, what was not read yet.

    fed, ended, stalled, read_again, lost and swept are the connection's events. One answer is worked out at a time;
    while it is, and while the client does not read, nothing more is taken from the socket. An HTTP request line
    before any text is handed, with all that came after it, to `as_http`. trusted: words that tell of
    the pipeline are answered without the token. first: nothing was said before.
    """

    __slots__ = ("_answers", "_as_http", "_buffer", "_ended", "_first", "_last_active", "_limits", "_loop", "_replies",
                 "_stalled", "_swallow", "_task", "_timer", "_transport", "_trusted", "_undecided", "_watch", "closing")

    def __init__(self, transport: asyncio.Transport, replies: Replies, limits: Limits,
                 as_http: Callable[[bytes], None], *, trusted: bool, first: bool = True) -> None:
        self._trusted = trusted
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._replies = replies
        self._limits = limits
        self._as_http = as_http
        self._buffer = bytearray()
        self._answers: list[str] = []
        self._timer: asyncio.Handle | None = None
        self._task: asyncio.Task[str] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._first = first
        self._undecided = False
        self._swallow = False
        self._ended = False
        self._stalled = False
        self._last_active = self._loop.time()
        self.closing = False

    def fed(self, data: bytes) -> None:
        self._last_active = self._loop.time()
        if self.closing:
            return
        self._end_watch()
        self._buffer += data
        self._advance()

    def ended(self) -> None:
        """The client has said all; it is still told the rest. One that said nothing is told the status."""
        self._ended = True
        if self.closing:
            self._transport.close()
            return
        self._end_watch()
        if self._first and not self._buffer:
            self._buffer += b"status\n"
        self._advance()

    def stalled(self) -> None:
        """The client does not read: nothing more is answered until it does."""
        self._stalled = True
        self._last_active = self._loop.time()

    def read_again(self) -> None:
        self._stalled = False
        self._last_active = self._loop.time()
        if not self.closing:
            self._advance()

    def lost(self) -> None:
        self.closing = True
        for waiting in (self._timer, self._task, self._watch):
            if waiting is not None:
                waiting.cancel()

    def swept(self, now: float) -> None:
        """Give up on a client that is idle or reads nothing."""
        silence = now - self._last_active
        if self._stalled:
            if silence > self._limits.stalled_s:
                self._transport.abort()
        elif self._watch is None and self._task is None and silence > self._limits.idle_s:
            self._transport.close()

    def _advance(self) -> None:
        """Answer the whole lines in hand, as far as answers are there, the client reads and others can wait."""
        self._cancel_timer()
        for _ in range(_AT_A_TIME):
            line = self._take()
            if line is None:
                break
            self._answer(line)
        self._send()
        self._wait()

    def _wait(self) -> None:
        """Decide what comes next: more of the buffer, more of the socket, silence, or the end."""
        if self.closing:
            return
        if self._task is not None or self._stalled:
            self._transport.pause_reading()
        elif self._buffer and not self._undecided and (self._ended or b"\n" in self._buffer):
            self._transport.pause_reading()
            self._timer = self._loop.call_soon(self._advance)
        else:
            self._transport.resume_reading()
            if self._buffer:
                quiet_s = self._limits.request_line_s if self._undecided else self._limits.quiet_s
                self._timer = self._loop.call_later(quiet_s, self._fell_quiet)
            elif self._ended:
                self._transport.close()

    def _take(self) -> bytes | None:
        """The next line, without its end; None when there is none to answer now."""
        if self.closing or self._task is not None or self._stalled:
            return None
        self._drop_late_newline()
        end = self._buffer.find(b"\n")
        if (end if end >= 0 else len(self._buffer)) > self._limits.line_bytes:
            self._close(f"error: a line is {self._limits.line_bytes} bytes at most; closing")
            return None
        if self._first and self._is_request():
            return None
        if end < 0:
            return self._rest() if self._ended and self._buffer else None
        self._first = False
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        return line.removesuffix(b"\r")

    def _is_request(self) -> bool:
        """Whether what came is HTTP, which is handed over, or may still become HTTP, which is waited for."""
        beginning = beginning_of(self._buffer) if self._buffer else Beginning.LINES
        self._undecided = beginning is Beginning.UNDECIDED and not self._ended
        if beginning is Beginning.HTTP:
            self._hand_over()
        return self._undecided or beginning is Beginning.HTTP

    def _drop_late_newline(self) -> None:
        """A newline that comes after its line was answered belongs to that line."""
        if self._swallow and self._buffer:
            if self._buffer.startswith(b"\r"):
                del self._buffer[:1]
            if self._buffer:
                self._swallow = False
                if self._buffer.startswith(b"\n"):
                    del self._buffer[:1]

    def _rest(self) -> bytes:
        self._first = False
        line = bytes(self._buffer)
        self._buffer.clear()
        return line.removesuffix(b"\r")

    def _fell_quiet(self) -> None:
        self._timer = None
        self._first = self._undecided = False
        if b"\n" in self._buffer:  # blank lines that no request followed
            self._advance()
            return
        self._answer(self._rest())
        self._swallow = True
        self._send()
        self._wait()

    def _answer(self, line: bytes) -> None:
        """Say what can be said at once, and have the rest worked out. A `watch` ends with the next line."""
        self._end_watch()
        text = decode_line(line)
        word = text.strip()
        if word == "quit":
            self._close("bye")
        elif word.startswith("token "):
            self._answers.append(self._unlocked(word.removeprefix("token ").strip()))
        elif word == "watch" and not self._trusted:
            self._answers.append(LOCKED)
        elif word == "watch":
            self._watch = self._loop.create_task(self._watched(), name="heartbeat-watch")
            self._watch.add_done_callback(self._watch_ended)
        elif isinstance(reply := self._replies.at_once(text), str):
            self._answers.append(reply)
        elif not self._trusted:
            self._answers.append(LOCKED)
        else:
            self._task = self._loop.create_task(self._replies.looked_up(text), name="heartbeat-answer")
            self._task.add_done_callback(self._worked_out)

    def _unlocked(self, word: str) -> str:
        if not self._replies.access.opens(word):
            return "error: that is not the token; `pipeline url` shows it"
        self._trusted = True
        return "ok"

    def _worked_out(self, task: asyncio.Task[str]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("no answer", exc_info=error)
        self._task = None
        if not self.closing:
            self._answers.append(task.result() if error is None else _BUG)
            self._advance()

    async def _watched(self) -> None:
        """A line now and on every change, until the client says something or leaves."""
        latest, clock = self._replies.latest, self._replies.clock
        before = await latest.get(clock())
        self._answers.append(f"watching, {escape_line(health(before))}")
        self._send()
        while True:
            await asyncio.sleep(self._limits.watch_every_s)
            if not self._stalled:
                after = await latest.get(clock())
                self._answers += [f"[{self._replies.stamp()}] {escape_line(line)}" for line in changes(before, after)]
                self._send()
                before = after

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("no more to watch", exc_info=error)
            if not self.closing:
                self._close(_BUG)

    def _send(self) -> None:
        if self._answers:
            text = "".join(f"{answer}\n" for answer in self._answers)
            self._answers.clear()
            self._transport.write(text.encode("utf-8", "backslashreplace"))

    def _close(self, last_word: str) -> None:
        """Say the last word; read on for a moment, so that no reset overtakes it on its way."""
        self._answers.append(last_word)
        self._send()
        self.closing = True
        self._buffer.clear()
        self._end_watch()
        if self._ended or not self._transport.can_write_eof():
            self._transport.close()
            return
        with contextlib.suppress(OSError):  # the client has reset it: its loss is told next
            self._transport.write_eof()
        self._transport.resume_reading()
        self._cancel_timer()
        self._timer = self._loop.call_later(self._limits.drain_s, self._transport.abort)

    def _hand_over(self) -> None:
        self.closing = True
        self._cancel_timer()
        self._as_http(bytes(self._buffer.lstrip(b"\r\n")))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
