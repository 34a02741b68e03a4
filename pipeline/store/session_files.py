"""The small private files of a spider's session.

Its cookie jar, its web storage, its login, and the health of its proxies.

With SQLite, they are files in data_dir/jars. If several services share the database, they are rows of the table `session_files`,
so that the next run on any node continues the session.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, insert, select

from pipeline.atomic_write import replace_file
from pipeline.errors import SessionError
from pipeline.model import Run
from pipeline.settings.masking import CurrentMask
from pipeline.store.database.bulk import insert_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import runs, session_files
from pipeline.store.runs import leases

JAR = "txt"
"""The cookie jar. A name is the ending of the local file: data_dir/jars/SPIDER.NAME."""
IMPORTED = "imported"
"""A hash of the cookies that were last imported from the settings."""
CHECK_PAGE = "landing"
"""The URL of the page on which the last login can be checked."""
TOKEN = "token"  # noqa: S105  a name
"""The API token of the last login."""
LAST_LOGIN = "way"
"""The time and the names of the cookies of the last login."""
PROXIES = "proxy"
"""The health of the spider's proxies."""
WEB_STORAGE = "storage"
"""The localStorage, sessionStorage and IndexedDB of the spider's sites, as browsers keep them."""
NAMES = (JAR, IMPORTED, CHECK_PAGE, TOKEN, LAST_LOGIN, PROXIES, WEB_STORAGE)
SECRETS_OF_LOGIN = (TOKEN, WEB_STORAGE)
"""The files that identify a logged-in user, besides the cookie jar."""
MAX_BYTES = 64 * 2**20
"""Not more of a file is read. The program never writes a file of this size."""

_log = logging.getLogger(__name__)


class SessionFile(ABC):
    """One private file. where: its name for messages. save_every_s: the shortest time between two writes that are not urgent."""

    where: str
    save_every_s = 0.0

    @abstractmethod
    def load(self) -> tuple[bytes | None, int]:
        """Return the content and its version; (None, 0) if the file is missing. At most MAX_BYTES + 1 bytes are read.

        Raises SessionError or StoreError if the file cannot be read.
        """

    @abstractmethod
    def version(self) -> int:
        """Return a number that is another one after each change of the content; 0 if the file is missing. Costs less than `load`."""

    @abstractmethod
    def replace(self, data: bytes, *, version: int | None = None) -> int | None:
        """Replace the content, and return the new version.

        version: change nothing and return None if the file no longer has this version; None means that any version is replaced.
        Raises SessionError or StoreError if the file cannot be written, and LeaseLostError if another process has taken over the
        run that writes.
        """

    def read(self) -> bytes | None:
        """Return the content; None if the file is missing. Raises SessionError, StoreError."""
        return self.load()[0]


class SessionFiles(Protocol):
    """The private files of one spider."""

    @property
    def spider(self) -> str: ...

    @property
    def mask(self) -> CurrentMask:
        """Masks the secrets of the session, which are added to it, in the logs and in the store of this process."""

    def file(self, name: str) -> SessionFile:
        """Return one file, which need not exist. name: one of NAMES."""


class LocalFile(SessionFile):
    """A private file on the disk of this machine (mode 0600, in a folder of mode 0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)

    def load(self) -> tuple[bytes | None, int]:
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1), _version_of(os.fstat(file.fileno()))
        except FileNotFoundError:
            return None, 0
        except OSError as error:
            raise SessionError(f"the file cannot be read: {error.strerror}", where=self.where, fix="check the file's owner and mode") from error

    def version(self) -> int:
        try:
            return _version_of(self.path.stat())
        except OSError:
            return 0

    def replace(self, data: bytes, *, version: int | None = None) -> int | None:
        if version is not None and self.version() != version:
            return None
        try:
            replace_file(self.path, data)
        except OSError as error:
            raise SessionError(f"the file cannot be written: {error.strerror}", where=self.where,
                               fix="check the folder's owner, mode and free space") from error
        return self.version()


def _version_of(found: os.stat_result) -> int:
    return hash((found.st_ino, found.st_mtime_ns, found.st_size)) or 1


@dataclass(frozen=True)
class LocalSessionFiles:
    """The private files of a spider in a folder: FOLDER/SPIDER.NAME."""

    folder: Path
    spider: str
    mask: CurrentMask = field(default_factory=CurrentMask, compare=False)

    def file(self, name: str) -> LocalFile:
        return LocalFile(self.folder / f"{self.spider}.{name}")


class DatabaseFile(SessionFile):
    """A private file in the database. The version grows with each change.

    run: the run that writes. A write verifies the run's lease in the same transaction, so that a process that lost its run cannot
    overwrite the files of the next run. None: the file is written for a command, which has no lease.
    """

    save_every_s = 2.0

    def __init__(self, store: Store, spider: str, name: str, run: Run | None) -> None:
        self.where = f"session file {spider}.{name} in the database"
        self._store = store
        self._key = {"spider": spider, "name": name}
        self._run = run

    def load(self) -> tuple[bytes | None, int]:
        with self._store.read() as connection:
            found = connection.execute(select(session_files.c.content, session_files.c.version).filter_by(**self._key)).first()
        return (None, 0) if found is None else (bytes(found.content), found.version)

    def version(self) -> int:
        with self._store.read() as connection:
            return connection.execute(select(session_files.c.version).filter_by(**self._key)).scalar() or 0

    def replace(self, data: bytes, *, version: int | None = None) -> int | None:
        with self._store.write_unlocked() as connection:
            if self._run is not None:
                leases.verify_and_hold(connection, runs, self._run.id, owner=self._run.lease_owner)
            return put(connection, **self._key, data=data, version=version)


@dataclass(frozen=True)
class DatabaseSessionFiles:
    """The private files of a spider in the database. run: see DatabaseFile."""

    store: Store
    spider: str
    run: Run | None = None

    @property
    def mask(self) -> CurrentMask:
        return self.store.mask

    def file(self, name: str) -> DatabaseFile:
        return DatabaseFile(self.store, self.spider, name, self.run)

    def take_over(self, local: LocalSessionFiles) -> None:
        """Copy the local files into the database if the database has no file of the spider yet.

        Later, local files are never read again, even if they are newer. Raises SessionError, StoreError.
        """
        mine = select(session_files.c.name).filter_by(spider=self.spider).limit(1)
        with self.store.read() as connection:
            if connection.execute(mine).first() is not None:
                return
        found = {name: data for name in NAMES if (data := local.file(name).read()) is not None}
        if not found:
            return
        with self.store.write(durable=True) as connection:
            if connection.execute(mine).first() is not None:  # another node was faster
                return
            connection.execute(insert(session_files), [
                {"spider": self.spider, "name": name, "content": data, "changed_at": datetime.now(UTC)} for name, data in found.items()])
        _log.warning("the session of %s was copied from %s into the database, which all nodes use from now on; the local files (%s) are no "
                     "longer used: delete them on each node", self.spider, local.folder, ", ".join(f"{self.spider}.{name}" for name in found))


def files_of(store: Store, spider: str, *, run: Run | None = None) -> SessionFiles:
    """Return the private files of a spider: in data_dir/jars, or in the database if several services share it.

    run: the run that uses the session; None for a command. Raises SessionError, StoreError.
    """
    local = LocalSessionFiles(store.data_dir / "jars", spider, store.mask)
    if not store.shared:
        return local
    files = DatabaseSessionFiles(store, spider, run)
    files.take_over(local)
    return files


def copy_all(source: SessionFiles, target: SessionFiles) -> None:
    """Copy the private files of a spider. Raises SessionError, StoreError."""
    for name in NAMES:
        if (data := source.file(name).read()) is not None:
            target.file(name).replace(data)


def put(connection: Connection, spider: str, name: str, data: bytes, *, version: int | None = None) -> int | None:
    """Replace a file in the database, and return its new version.

    version: as in SessionFile.replace. connection: a writing transaction, in which the caller verifies the lease that it needs.
    """
    row = {"content": data, "version": (version or 0) + 1, "changed_at": datetime.now(UTC)}
    found: int | None = connection.execute(insert_of(connection)(session_files).values(spider=spider, name=name, **row).on_conflict_do_update(
        index_elements=[session_files.c.spider, session_files.c.name], set_=row | {"version": session_files.c.version + 1},
        where=None if version is None else session_files.c.version == version).returning(session_files.c.version)).scalar()
    return found


def versions(connection: Connection, spider: str) -> Mapping[str, int]:
    """Return the version of each of a spider's files in the database, by name. A version grows with each change of its file."""
    rows = connection.execute(select(session_files.c.name, session_files.c.version).filter_by(spider=spider))
    return {row.name: row.version for row in rows}


def of_spiders(store: Store, connection: Connection, name: str, spiders: Iterable[str]) -> dict[str, bytes]:
    """Return one file of each spider, by spider. Spiders without the file, and local files that cannot be read, are left out.

    name: one of NAMES. connection: a transaction of the store.
    """
    if store.shared:
        rows = connection.execute(select(session_files.c.spider, session_files.c.content).filter_by(name=name))
        found = {row.spider: bytes(row.content) for row in rows}
        return {spider: found[spider] for spider in spiders if spider in found}
    contents = {}
    for spider in spiders:
        try:
            data = LocalSessionFiles(store.data_dir / "jars", spider).file(name).read()
        except SessionError:
            continue
        if data is not None:
            contents[spider] = data
    return contents
