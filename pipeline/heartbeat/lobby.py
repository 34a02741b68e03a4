"""Where plain TCP connections begin: a whole line that needs no snapshot is answered before anything is built for them.

A protocol, a transport and its timers cost more than the answer to one line. So a guest is no more than its socket;
what needs more (HTTP, words of the snapshot, several lines or half a one) is shown in: to a Connection that gets
what was read so far.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from functools import partial

from pipeline.heartbeat.lines import Replies

AT_ONCE = 128
"""Connections taken, and guests heard, before others have their turn: those who leave are noticed in between."""
SHOWN_IN_AT_ONCE = 32
"""Guests for whom a transport is made in one turn: that takes ten times as long as an answer here."""
_SHORT = 512
"""Bytes of a line that is answered here."""
_AT_A_TIME = 16 * 1024
_RETRY_S = 1.0
"""After which it is tried again where there was no file left for one more connection."""


class Guest:
    __slots__ = ("asked", "peer", "since", "sock")

    def __init__(self, sock: socket.socket, peer: str, since: float) -> None:
        self.sock = sock
        self.peer = peer
        self.since = since
        self.asked = False


ShowIn = Callable[[Guest, bytes, bytes], None]


class Lobby:
    """admits: whether an address may connect. has_room: for one more. show_in: takes over a guest's socket, with
    what it said and what of an answer it has still to get. left: a place is free again. idle_s: silence after which a guest is sent away.

    Needs epoll(7), whose own descriptor the loop watches: one event of the loop for all guests.
    """

    def __init__(self, replies: Replies, *, idle_s: float, admits: Callable[[str], bool], has_room: Callable[[], bool],
                 show_in: ShowIn, left: Callable[[], None]) -> None:
        self._replies = replies
        self._idle_s = idle_s
        self._admits = admits
        self._has_room = has_room
        self._show_in = show_in
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._guests: dict[int, Guest] = {}  # whoever was heard last comes last
        self._ready = select.epoll()
        self._loop.add_reader(self._ready, self._hear)

    def __len__(self) -> int:
        return len(self._guests)

    def listen(self, sock: socket.socket) -> None:
        self._listening.append(sock)
        self._loop.add_reader(sock, partial(self._accept, sock))

    def close(self) -> None:
        """No more guests; those who are here have their answers."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
            sock.close()
        self._loop.remove_reader(self._ready)
        self._ready.close()
        self._listening.clear()
        for guest in self._guests.values():
            guest.sock.close()
        self._guests.clear()

    def sweep(self, now: float) -> None:
        """Send away whoever said nothing for too long."""
        for guest in tuple(self._guests.values()):
            if now - guest.since <= self._idle_s:
                return
            self._forget(guest)

    def _accept(self, listening: socket.socket) -> None:
        now = self._loop.time()
        if not self._has_room():
            self._hear()  # some may have left again
        for _ in range(AT_ONCE):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:  # no file, no memory
                self._loop.remove_reader(listening)
                self._loop.call_later(_RETRY_S, self._accept_again, listening)
                return
            guest = Guest(sock, address[0], now)
            if not self._admits(guest.peer):
                sock.close()
            elif not self._has_room():
                self._show_in(guest, b"", b"")
            else:
                self._guests[sock.fileno()] = guest
                self._ready.register(sock, select.EPOLLIN)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, partial(self._accept, listening))

    def _hear(self) -> None:
        now = self._loop.time()
        shown_in = 0
        for number, _ in self._ready.poll(0, AT_ONCE):
            if shown_in == SHOWN_IN_AT_ONCE:  # the rest is ready in the next turn, too
                return
            guest = self._guests.pop(number)
            try:
                data = guest.sock.recv(_AT_A_TIME, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._guests[number] = guest
            except OSError:  # it was reset
                self._gone(guest)
            else:
                shown_in += self._heard(guest, data, now)

    def _heard(self, guest: Guest, data: bytes, now: float) -> bool:
        """Whether it was shown in."""
        if not data and guest.asked:
            self._gone(guest)
            return False
        answer = self._answer(data)
        try:
            sent = 0 if answer is None else guest.sock.send(answer, socket.MSG_DONTWAIT)
        except BlockingIOError:  # it does not read its answers
            sent = 0
        except OSError:
            self._gone(guest)
            return False
        if answer is not None and sent == len(answer):
            guest.asked = True
            guest.since = now
            self._guests[guest.sock.fileno()] = guest
            return False
        self._ready.unregister(guest.sock)
        self._show_in(guest, data if answer is None else b"", b"" if answer is None else answer[sent:])
        return True

    def _answer(self, data: bytes) -> bytes | None:
        """To one whole and simple line; None when it takes more."""
        if not 0 < len(data) <= _SHORT or data.find(b"\n") != len(data) - 1:
            return None
        reply = self._replies.to_line(data[:-1])
        return reply if reply is None else f"{reply}\n".encode("utf-8", "backslashreplace")

    def _forget(self, guest: Guest) -> None:
        del self._guests[guest.sock.fileno()]
        self._gone(guest)

    def _gone(self, guest: Guest) -> None:
        guest.sock.close()
        self._left()
