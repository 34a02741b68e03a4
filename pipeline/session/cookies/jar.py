"""The cookie jar of one spider, stored as a Netscape file.

Page requests and downloads use the jar, and other programs such as curl and browser extensions can use the file.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from pipeline.errors import CookieError, SessionError
from pipeline.session.cookies.cookie import MAX_PAIR_BYTES, Cookie, CookieKey, is_too_large
from pipeline.session.cookies.cookie_store import HOST_BYTES, HOST_COOKIES, JAR_BYTES, JAR_COOKIES, CookieStore
from pipeline.session.cookies.netscape import decode, read_netscape, write_netscape
from pipeline.store.session_files import MAX_BYTES, LocalFile, SessionFile
from pipeline.text import counted

logger = logging.getLogger(__name__)


class Jar(CookieStore):
    """A thread-safe cookie jar, stored in a file; without a file, the jar is only in memory.

    Only `save` writes changes to the file.
    """

    def __init__(self, file: SessionFile | Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock=clock)
        self._file = LocalFile(file) if isinstance(file, Path) else file
        self._file_version = 0
        self._saving = threading.Lock()
        self._saved = write_netscape(())
        self._saved_version = 0
        self._saved_keys: set[CookieKey] = set()
        self._saved_at = 0.0

    @classmethod
    def open(cls, file: SessionFile | Path, *, protected: Iterable[CookieKey] = (), clock: Callable[[], float] = time.time) -> Self:
        """Open the jar stored in a file. Invalid lines are skipped and logged.

        If the file is missing, the jar is empty. protected: the keys of the login's cookies; see `protect`. Raises CookieError or
        StoreError if the file cannot be read.
        """
        jar = cls(file, clock=clock)
        jar.protect(protected)
        assert jar._file is not None
        data, jar._file_version = _load(jar._file)
        if data is None:
            return jar
        where = jar._file.where
        text, cut = decode(data, MAX_BYTES)
        broken: list[CookieError] = []
        found = {cookie.key: cookie for cookie in read_netscape(text, where, on_error=broken.append)}
        jar.add(cookie for cookie in found.values() if not is_too_large(cookie))
        if cut:
            logger.warning("%s: the file is larger than %d MiB; the rest of the file is ignored", where, MAX_BYTES >> 20)
        if broken:
            logger.warning("%s: %s skipped; the first: %s", where, counted(len(broken), "invalid line"), broken[0].what)
        if len(jar) < len(found):
            logger.warning("%s: %d of %d cookies were skipped, because they exceed a limit: %d bytes for a cookie, %d cookies and %d bytes "
                           "for a host, %d cookies and %d bytes in total", where, len(found) - len(jar), len(found), MAX_PAIR_BYTES,
                           HOST_COOKIES, HOST_BYTES, JAR_COOKIES, JAR_BYTES)
        whole = not (cut or broken or len(jar) < len(found))
        jar._saved, jar._saved_version = (write_netscape(jar), jar.version) if whole else (b"", -1)
        return jar

    def save(self) -> bool:
        """Write the file if cookies have changed. Return whether the file was written.

        If another process has changed the file since this jar last read or wrote it, its changes are merged; see `merge`. Raises
        SessionError or StoreError if the file cannot be written, and LeaseLostError as SessionFile.replace.
        """
        if self._file is None or self.version == self._saved_version:
            return False
        with self._saving:
            while True:
                with self._lock:
                    version, cookies = self.version, list(self)
                data = write_netscape(cookies)
                if data == self._saved:
                    self._saved_version = version
                    return False
                stored = self._file.replace(data, version=self._file_version)
                if stored is not None:
                    self._saved, self._saved_version, self._file_version = data, version, stored
                    self._saved_keys, self._saved_at = {cookie.key for cookie in cookies}, time.monotonic()
                    return True
                self._merge(self._file)

    def checkpoint(self) -> None:
        """Save the jar before pages are committed, if it has new cookies, or was not saved for the file's `save_every_s` seconds.

        Sites that change the value of a cookie with each response would otherwise let each page write to the database. If the
        process is killed, the last change of such a value is lost. Raises errors as `save`.
        """
        if self._file is None or self.version == self._saved_version:
            return
        if time.monotonic() - self._saved_at < self._file.save_every_s and {cookie.key for cookie in self} <= self._saved_keys:
            return
        self.save()

    def merge(self) -> bool:
        """Apply the changes that another process has made to the file since this jar last read or wrote it. Return whether there were any.

        The other process has imported cookies or logged in, so its changes replace changes of this jar to the same cookies.
        Costs one look at the file's version if there are no changes. Raises CookieError, StoreError.
        """
        with self._saving:
            if self._file is None or self._file.version() == self._file_version:
                return False
            self._merge(self._file)
            return True

    def _merge(self, file: SessionFile) -> None:
        data, version = _load(file)
        before, now = _cookies(self._saved if data is not None else b""), _cookies(data or b"")  # nothing is removed if the file was deleted
        with self._lock:
            for key in before.keys() - now.keys():
                self.remove(key)
            self.add(cookie for key, cookie in now.items() if before.get(key) != cookie)
        self._saved, self._file_version = data or b"", version

    def keep_in_memory(self) -> None:
        """Never save the jar again, because another process saves its cookies."""
        self._file = None

    @property
    def is_stored(self) -> bool:
        """Whether the file of the jar exists, or existed when the jar was opened or saved."""
        return self._file_version != 0

    @property
    def path(self) -> Path | None:
        """The path of the jar's file; None if it is not on the disk of this machine."""
        return self._file.path if isinstance(self._file, LocalFile) else None

    def __repr__(self) -> str:
        return f"<Jar {self._file.where if self._file is not None else 'in memory'}: {len(self)} cookies>"


def _load(file: SessionFile) -> tuple[bytes | None, int]:
    try:
        return file.load()
    except SessionError as error:
        raise CookieError(error.what, where=error.where, fix=error.fix) from error


def _cookies(data: bytes) -> dict[CookieKey, Cookie]:
    text, _ = decode(data, MAX_BYTES)
    return {cookie.key: cookie for cookie in read_netscape(text, "", on_error=lambda error: None)}
