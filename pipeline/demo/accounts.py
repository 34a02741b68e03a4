"""Who is at the demo site: sessions in memory, each with its CSRF token and the revision it sees."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST = 1000


@dataclass
class Visitor:
    """revision: 0 until logged in. last_seen: seconds of the clock given to Visitors."""

    key: str
    csrf_token: str
    last_seen: float
    revision: int = 0

    @property
    def logged_in(self) -> bool:
        return self.revision > 0


class Visitors:
    """Sessions by cookie. Idle ones end after `idle_s`, the oldest where there are too many."""

    def __init__(self, *, idle_s: float, clock: Callable[[], float]) -> None:
        self._idle_s = idle_s
        self._clock = clock
        self._by_key: OrderedDict[str, Visitor] = OrderedDict()

    def known(self, key: str) -> Visitor | None:
        found = self._by_key.pop(key, None)
        if found is None or self._clock() - found.last_seen > self._idle_s:
            return None
        found.last_seen = self._clock()
        self._by_key[key] = found
        return found

    def arrived(self, revision: int = 0) -> Visitor:
        """A new session; a login always gets one of its own, so that no cookie set before it is worth anything."""
        visitor = Visitor(secrets.token_urlsafe(24), secrets.token_urlsafe(24), self._clock(), revision)
        self._by_key[visitor.key] = visitor
        while len(self._by_key) > _MOST:
            self._by_key.popitem(last=False)
        return visitor

    def left(self, visitor: Visitor) -> None:
        self._by_key.pop(visitor.key, None)
