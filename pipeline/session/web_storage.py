"""The web storage of one spider's sites (localStorage, sessionStorage, IndexedDB), kept between runs.

Many sites keep the token of a login only there, and not in a cookie. The storage of an origin is kept as its pages left it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.model import Json
from pipeline.session.trusted_origins import shown_origin
from pipeline.store.session_files import SessionFile
from pipeline.text import clean_line, counted, size_for_people

ORIGIN_BYTES = 2 * 2**20
"""Maximum size of the storage of one origin that is kept."""
TOTAL_BYTES = 8 * 2**20
StorageKey = tuple[str, str, str]
"""One entry: its origin; "local", "session" or "databases"; and its name, which is "" for the databases of an origin."""
StorageEntries = dict[StorageKey, Json]
"""Entries with their values. As changes: None means that the entry was removed."""
_SAVE_EVERY_S = 2.0
"""The shortest time between two writes while pages are fetched. Many sites write a counter or the time into their storage on every page."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OriginStorage:
    """The storage of one origin.

    local, session: the entries of localStorage and of sessionStorage. databases: the IndexedDB databases, in the form of
    Playwright's storage state.
    """

    local: Mapping[str, str] = field(default_factory=dict, repr=False)
    session: Mapping[str, str] = field(default_factory=dict, repr=False)
    databases: tuple[Json, ...] = field(default=(), repr=False)

    @property
    def is_empty(self) -> bool:
        return not (self.local or self.session or self.databases)

    def packed(self) -> dict[str, Json]:
        return {name: value for name, value in (("local", dict(self.local)), ("session", dict(self.session)), ("databases", list(self.databases))) if value}

    @classmethod
    def unpacked(cls, found: Mapping[str, Json]) -> OriginStorage:
        """Return the storage in the form of `packed`. Raises ValueError for another form."""
        local, session, databases = found.get("local", {}), found.get("session", {}), found.get("databases", [])
        if not (_is_entries(local) and _is_entries(session) and isinstance(databases, list)):
            raise ValueError(sorted(found))
        return cls(local, session, tuple(databases))


class WebStorage:
    """The storage of all kept origins. Thread-safe.

    file: where the storage is saved; None keeps it in memory only. version: a number that is larger after each change.
    """

    def __init__(self, file: SessionFile | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.RLock()
        self._origins: dict[str, OriginStorage] = {}
        self._too_large: set[str] = set()
        self.version = 0
        self._saved_version = 0
        self._saved_at_s = float("-inf")

    @classmethod
    def open(cls, file: SessionFile) -> WebStorage:
        """Open the stored storage. A damaged file is like a missing one. Raises SessionError or StoreError if the file cannot be read."""
        storage = cls(file)
        if data := file.read():
            try:
                storage._origins = _unpacked(data)
            except (ValueError, AttributeError, TypeError):
                logger.warning("%s: the file is damaged and not used", file.where)
        return storage

    def __repr__(self) -> str:
        return f"<WebStorage: {len(self._origins)} origins>"

    def __bool__(self) -> bool:
        return bool(self._origins)

    def of(self, url: str) -> OriginStorage:
        """Return the storage of the origin of a URL."""
        return self._origins.get(shown_origin(url), OriginStorage())

    def snapshot(self) -> dict[str, OriginStorage]:
        """Return the storage of all origins, by origin as browsers show it, such as https://site.example:8443."""
        with self._lock:
            return dict(self._origins)

    def put(self, url: str, storage: OriginStorage) -> None:
        """Replace the storage of the origin of a URL. A storage that is too large is not kept, which is logged once."""
        if not (origin := shown_origin(url)):
            return
        size = _size(storage)
        with self._lock:
            if storage == self._origins.get(origin, OriginStorage()):
                return
            others = sum(_size(each) for name, each in self._origins.items() if name != origin)
            if size > ORIGIN_BYTES or size + others > TOTAL_BYTES:
                if origin not in self._too_large:
                    self._too_large.add(origin)
                    logger.warning("the web storage of %s is larger than %s and is not kept for the next run", clean_line(origin, 200),
                                   size_for_people(ORIGIN_BYTES if size > ORIGIN_BYTES else TOTAL_BYTES))
                self._origins.pop(origin, None)
            elif storage.is_empty:
                self._origins.pop(origin, None)
            else:
                self._origins[origin] = storage
            self.version += 1

    def apply(self, changes: Mapping[StorageKey, Json]) -> None:
        """Apply changes of single entries, such as those that another process of the run has made. Limits are those of `put`."""
        with self._lock:
            for origin in {key[0] for key in changes}:
                entries = changed(dict(_entries(origin, self.of(origin))),
                                  {key: value for key, value in changes.items() if key[0] == origin})
                self.put(origin, _of_entries(entries))

    def entries(self) -> StorageEntries:
        return entries_of(self.snapshot())

    def replace(self, origins: Mapping[str, OriginStorage]) -> None:
        """Replace the storage of all origins."""
        with self._lock:
            if dict(origins) != self._origins:
                self._origins = dict(origins)
                self.version += 1

    def clear(self) -> None:
        self.replace({})

    def save(self) -> None:
        """Write the file, if the storage has changed. Raises SessionError, StoreError or LeaseLostError as SessionFile.replace."""
        with self._lock:
            version, data = self.version, _packed(self._origins) if self.version != self._saved_version else b""
        if self._file is None or not data:
            return
        self._file.replace(data)
        self._saved_version, self._saved_at_s = version, self._clock()

    def checkpoint(self) -> None:
        """Save the storage, unless it was saved less than _SAVE_EVERY_S seconds ago. Raises errors as `save`."""
        if self.version != self._saved_version and self._clock() - self._saved_at_s >= _SAVE_EVERY_S:
            self.save()

    def keep_in_memory(self) -> None:
        """Never save the storage again, because another process saves it."""
        self._file = None

    def packed(self) -> bytes:
        """Return the storage as bytes, for another process of the run."""
        with self._lock:
            return _packed(self._origins)


def entries_of_packed(data: bytes) -> StorageEntries:
    """Return the entries of what WebStorage.packed has returned in another process of the run."""
    return entries_of(_unpacked(data))


def entries_of(origins: Mapping[str, OriginStorage]) -> StorageEntries:
    return dict(entry for origin, storage in origins.items() for entry in _entries(origin, storage))


def changes_between(before: Mapping[StorageKey, Json], after: Mapping[StorageKey, Json]) -> StorageEntries:
    """Return the changes that turn `before` into `after`."""
    return {key: value for key, value in after.items() if before.get(key) != value} | dict.fromkeys(before.keys() - after.keys())


def changed(before: Mapping[StorageKey, Json], changes: Mapping[StorageKey, Json]) -> StorageEntries:
    """Return the entries after these changes."""
    return {key: value for key, value in {**before, **changes}.items() if value is not None}


def describe_storage(storage: WebStorage | None) -> list[str]:
    """Return a line for each entry of the storage, for `pipeline cookies show`, with masked values."""
    lines = []
    for origin, stored in sorted((storage.snapshot() if storage is not None else {}).items()):
        for kind, entries in (("localStorage", stored.local), ("sessionStorage", stored.session)):
            lines += [f"{clean_line(origin, 200)}  {kind}  {clean_line(name, 80)} = ••• ({counted(len(value), 'character')})"
                      for name, value in sorted(entries.items())]
        if stored.databases:
            lines.append(f"{clean_line(origin, 200)}  {counted(len(stored.databases), 'IndexedDB database')}")
    return lines


def _entries(origin: str, storage: OriginStorage) -> Iterator[tuple[StorageKey, Json]]:
    for kind, entries in (("local", storage.local), ("session", storage.session)):
        for name, value in entries.items():
            yield (origin, kind, name), value
    if storage.databases:
        yield (origin, "databases", ""), list(storage.databases)


def _of_entries(entries: Mapping[StorageKey, Json]) -> OriginStorage:
    """Return the storage that consists of these entries of one origin."""
    local, session = ({name: value for (_, kind, name), value in entries.items() if kind == wanted} for wanted in ("local", "session"))
    return OriginStorage(local, session, tuple(next((value for (_, kind, _), value in entries.items() if kind == "databases"), ())))


def _packed(origins: Mapping[str, OriginStorage]) -> bytes:
    return json.dumps({origin: storage.packed() for origin, storage in origins.items()}).encode()


def _unpacked(data: bytes) -> dict[str, OriginStorage]:
    return {str(origin): OriginStorage.unpacked(found) for origin, found in json.loads(data).items()}


def _size(storage: OriginStorage) -> int:
    entries = sum(len(name) + len(value) for part in (storage.local, storage.session) for name, value in part.items())
    return entries + (len(json.dumps(storage.databases)) if storage.databases else 0)


def _is_entries(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(name, str) and isinstance(value, str) for name, value in found.items())
