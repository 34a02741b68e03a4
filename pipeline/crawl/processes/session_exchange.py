"""Exchange cookies and web storage between the processes of a run.

Those of the leader are those of the run.

Through the store, the leader shares all of them. Another member shares what its responses and pages have changed since the last
login; the leader adds this to its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from pipeline.model import Json
from pipeline.session.cookies.cookie import Cookie, CookieKey
from pipeline.session.cookies.jar import Jar
from pipeline.session.web_storage import StorageEntries, WebStorage, changed, changes_between


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


class StorageSync:
    """The web storage of this process, and what another process knows of it. Changes are those of single entries, as with cookies."""

    def __init__(self, storage: WebStorage) -> None:
        self._storage = storage
        self._known: StorageEntries = {}
        self._version = -1

    def changes(self) -> StorageEntries:
        """Return what has changed here since the last call, without what the other process has changed."""
        version = self._storage.version
        if version == self._version:
            return {}
        here = self._storage.entries()
        found, self._known, self._version = changes_between(self._known, here), here, version
        return found

    def take(self, changes: StorageEntries) -> None:
        """Apply changes of the other process."""
        self._known = changed(self._known, changes)
        self._storage.apply(changes)


class SessionExchange:
    """The cookies and the web storage of one process that is not the leader.

    It knows what the process has from the leader, and what responses to it and its pages have changed.
    """

    def __init__(self, jar: Jar, storage: WebStorage | None = None) -> None:
        self._jar = jar
        self._storage = StorageSync(storage) if storage is not None else None
        self._shared_storage: StorageEntries = {}
        self._own_storage: StorageEntries = {}
        self._lock = threading.Lock()
        self._shared: dict[CookieKey, Cookie] = {}
        self._known: dict[CookieKey, Cookie] = {}
        self._version = jar.version
        self._own: dict[CookieKey, Cookie | None] = {}  # None: a response has removed the cookie

    def changes(self, epoch: int) -> bytes | None:
        """Return all changes since the login with this number; None if there are no more of them than last time."""
        with self._lock:
            cookies, storage = self._collect(), self._collect_storage()
            return _packed(epoch, self._own, self._own_storage) if cookies or storage else None

    def _collect_storage(self) -> bool:
        found = self._storage.changes() if self._storage is not None else {}
        self._own_storage |= found
        return bool(found)

    def _collect(self) -> bool:
        version = self._jar.version
        if version == self._version:
            return False
        here = {cookie.key: cookie for cookie in self._jar}
        self._own |= {key: cookie for key, cookie in here.items() if self._known.get(key) != cookie}
        self._own |= dict.fromkeys(self._known.keys() - here.keys())
        self._known, self._version = here, version
        return True

    def take(self, cookies: Iterable[Cookie], *, new_login: bool, storage: StorageEntries | None = None) -> None:
        """Apply the changes of the leader's session since the last call. Must be called in the thread that processes responses.

        new_login: whether the leader has logged in again; the changes since the earlier login are then forgotten. storage: the web
        storage of the leader; None if it shares none.
        """
        shared = {cookie.key: cookie for cookie in cookies}
        with self._lock:
            self._collect()
            for key in self._shared.keys() - shared.keys():
                self._jar.remove(key)
            self._jar.add(cookie for key, cookie in shared.items() if self._shared.get(key) != cookie)
            self._shared = shared
            if storage is not None and self._storage is not None:
                self._collect_storage()
                self._storage.take(changes_between(self._shared_storage, storage))
                self._shared_storage = storage
            if new_login:
                self._own.clear()
                self._own_storage.clear()
            self._known, self._version = {cookie.key: cookie for cookie in self._jar}, self._jar.version


def _packed(epoch: int, changes: Mapping[CookieKey, Cookie | None], storage: StorageEntries) -> bytes:
    return json.dumps({"epoch": epoch, "changes": [[list(key), None if cookie is None else asdict(cookie)]
                                                    for key, cookie in changes.items()],
                       "storage": [[list(key), value] for key, value in storage.items()]}).encode()


class ReceivedChanges:
    """What one other member has changed in cookies and web storage, as the leader adds it to its own."""

    def __init__(self) -> None:
        self._applied: dict[CookieKey, Cookie | None] = {}
        self._applied_storage: StorageEntries = {}

    def apply(self, data: bytes, jar: Jar, epoch: int, storage: WebStorage | None = None) -> None:
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
        if storage is not None:
            changes: StorageEntries = {(origin, kind, name): value for (origin, kind, name), value in found.get("storage", ())}
            storage.apply({key: value for key, value in changes.items() if self._applied_storage.get(key, ...) != value})
            self._applied_storage = changes
