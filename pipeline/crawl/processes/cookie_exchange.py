"""Exchange cookies between the processes of a run through the store: the leader's jar is the jar of the run.

The leader shares all cookies of its jar. Another member shares the cookies that responses to it have set since the last login;
the leader adds these to its jar.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from pipeline.model import Json
from pipeline.session.cookies.cookie import Cookie, CookieKey
from pipeline.session.cookies.jar import Jar


@dataclass(frozen=True)
class SharedSession:
    """The session of the leader, as shared with the other members of a run.

    epoch: the number of the current login. token: the API token of the login. checkable: whether the login can be checked. storage:
    the web storage that browsers use, as WebStorage.packed; "" if the session has none.
    """

    epoch: int
    token: str
    checkable: bool
    cookies: tuple[Cookie, ...]
    storage: str = field(default="", repr=False)

    def packed(self) -> bytes:
        return json.dumps({"epoch": self.epoch, "token": self.token, "checkable": self.checkable, "storage": self.storage,
                           "cookies": [asdict(cookie) for cookie in self.cookies]}).encode()

    @classmethod
    def unpacked(cls, data: bytes) -> SharedSession:
        found = json.loads(data)
        return cls(found["epoch"], found["token"], found["checkable"], tuple(Cookie(**cookie) for cookie in found["cookies"]),
                   found.get("storage", ""))


class CookieExchange:
    """The cookies of one process that is not the leader: what it knows from the leader, and what responses to it have changed."""

    def __init__(self, jar: Jar) -> None:
        self._jar = jar
        self._lock = threading.Lock()
        self._shared: dict[CookieKey, Cookie] = {}
        self._known: dict[CookieKey, Cookie] = {}
        self._version = jar.version
        self._own: dict[CookieKey, Cookie | None] = {}  # None: a response has removed the cookie

    def changes(self, epoch: int) -> bytes | None:
        """Return all changes by responses since the login with this number; None if there are no more of them than last time."""
        with self._lock:
            return _packed(epoch, self._own) if self._collect() else None

    def _collect(self) -> bool:
        version = self._jar.version
        if version == self._version:
            return False
        here = {cookie.key: cookie for cookie in self._jar}
        self._own |= {key: cookie for key, cookie in here.items() if self._known.get(key) != cookie}
        self._own |= dict.fromkeys(self._known.keys() - here.keys())
        self._known, self._version = here, version
        return True

    def take(self, cookies: Iterable[Cookie], *, new_login: bool) -> None:
        """Apply the changes of the leader's jar since the last call. Must be called in the thread that processes responses.

        new_login: whether the leader has logged in again; the changes by responses to the earlier login are then forgotten.
        """
        shared = {cookie.key: cookie for cookie in cookies}
        with self._lock:
            self._collect()
            for key in self._shared.keys() - shared.keys():
                self._jar.remove(key)
            self._jar.add(cookie for key, cookie in shared.items() if self._shared.get(key) != cookie)
            self._shared = shared
            if new_login:
                self._own.clear()
            self._known, self._version = {cookie.key: cookie for cookie in self._jar}, self._jar.version


def _packed(epoch: int, changes: Mapping[CookieKey, Cookie | None]) -> bytes:
    return json.dumps({"epoch": epoch, "changes": [[list(key), None if cookie is None else asdict(cookie)]
                                                    for key, cookie in changes.items()]}).encode()


class ReceivedCookies:
    """The cookies that one other member has shared, as the leader adds them to its jar."""

    def __init__(self) -> None:
        self._applied: dict[CookieKey, Cookie | None] = {}

    def apply(self, data: bytes, jar: Jar, epoch: int) -> None:
        """Add what is new in `data`, unless it belongs to an earlier login than the one with the number `epoch`."""
        found: dict[str, Json] = json.loads(data) if data else {"epoch": -1, "changes": []}
        if found["epoch"] < epoch:
            return
        for listed, fields in found["changes"]:
            key: CookieKey = tuple(listed)
            cookie = None if fields is None else Cookie(**fields)
            if key in self._applied and self._applied[key] == cookie:
                continue
            self._applied[key] = cookie
            if cookie is None:
                jar.remove(key)
            else:
                jar.add((cookie,))
