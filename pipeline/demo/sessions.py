"""The sessions of the demo site's visitors, kept in memory, each with a CSRF token."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST = 1000


@dataclass
class DemoSession:
    """A session of a visitor of the demo site.

    revision: the revision of the catalogue that the visitor sees; 0 before the login. last_seen: the time of the visitor's
    last request, according to the clock of SessionStore.
    """

    key: str
    csrf_token: str
    last_seen: float
    revision: int = 0

    @property
    def logged_in(self) -> bool:
        return self.revision > 0


class SessionStore:
    """The sessions of the demo site. The value of the session cookie identifies a session.

    A session expires after `idle_s` seconds without a request. If there are too many sessions, the session that has been
    idle longest is deleted.
    """

    def __init__(self, *, idle_s: float, clock: Callable[[], float]) -> None:
        self._idle_s = idle_s
        self._clock = clock
        self._by_key: OrderedDict[str, DemoSession] = OrderedDict()

    def find(self, key: str) -> DemoSession | None:
        found = self._by_key.pop(key, None)
        if found is None or self._clock() - found.last_seen > self._idle_s:
            return None
        found.last_seen = self._clock()
        self._by_key[key] = found
        return found

    def create(self, revision: int = 0) -> DemoSession:
        """Create a session.

        A login always creates a new session, so that a cookie that was set before the login never becomes a login cookie
        (protection against session fixation).
        """
        session = DemoSession(secrets.token_urlsafe(24), secrets.token_urlsafe(24), self._clock(), revision)
        self._by_key[session.key] = session
        while len(self._by_key) > _MOST:
            self._by_key.popitem(last=False)
        return session

    def remove(self, session: DemoSession) -> None:
        self._by_key.pop(session.key, None)
