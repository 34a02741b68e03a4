"""Transfer one file: request, write, hash, verify and name the file, or resume its partial download.

A partial download is resumed only if the headers (If-Range, ETag, Content-Range) prove that the remaining bytes belong to the
same version of the file. Otherwise, the file is fetched from the beginning, so that it never contains bytes of two versions.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from pipeline.download.checksums import Hasher, announced, of_file
from pipeline.download.limits import MIB, DownloadLimits
from pipeline.download.response import headers
from pipeline.download.response.body import Body
from pipeline.download.response.buffers import Buffers
from pipeline.download.response.headers import Validators
from pipeline.download.response.request import Translate, request_file
from pipeline.download.storage import filenames
from pipeline.download.storage.download_folder import DownloadFolder
from pipeline.download.storage.part_files import PartFile
from pipeline.download.storage.paths import FolderLayout
from pipeline.download.storage.safe_folders import disk_full
from pipeline.errors import DiskFullError, DownloadError, PipelineError, StoreError
from pipeline.model import QueuedDownload
from pipeline.session.errors import not_whole
from pipeline.session.responses.errors import cut_short
from pipeline.session.responses.head import missing_range
from pipeline.text import shown_url, size_for_people


class StoppedError(DownloadError):
    """The transfer was stopped on request. The bytes received so far are kept."""


class _MismatchError(DownloadError):
    """The received bytes do not match a checksum. The partial download is deleted."""


@dataclass(frozen=True)
class TransferTools:
    """The objects that a worker thread uses for all its transfers."""

    client: requests.Session
    folder: DownloadFolder
    buffers: Buffers
    layout: FolderLayout
    limits: DownloadLimits
    translate: Translate


class TransferRecords(Protocol):
    """The part of the store that a transfer reads and writes."""

    def is_recorded(self, key: str, /) -> bool:
        """Return whether the store has a file with this key."""

    def same_content(self, sha256: str, size_bytes: int) -> Sequence[str]:
        """Return the keys of the spider's files with this SHA-256 and size."""

    def record_part(self, *, part_key: str, etag: str, last_modified: str, length: int | None) -> None:
        """Record which version of the file the partial download contains.

        Only a recorded partial download can be resumed later. part_key: the key of the partial download; "" means that there is
        no partial download any more. etag, last_modified: the validators of the version. length: the size of the whole file, or
        None if unknown.
        """


@dataclass(frozen=True)
class TransferEvents:
    """Callbacks for the progress of a transfer, and the event that stops the transfer.

    stopped: the event that stops the transfer. Whoever sets this event must also shut down the socket of the response, in case
    the transfer is waiting for the server. on_response: called when a response arrives, with the open response, the position in
    the file at which the response body begins, and the size of the whole file or None. on_bytes: called after every written chunk
    with its size; if on_bytes raises an error, the transfer ends with this error.
    """

    stopped: threading.Event
    on_response: Callable[[requests.Response, int, int | None], None]
    on_bytes: Callable[[int], None]


@dataclass(frozen=True)
class Fetched:
    """A complete file under its final name.

    part_key: the key of the part file to remove after the store has recorded the file; "" means none. received_bytes: the number
    of bytes received in this attempt.
    """

    key: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    etag: str
    last_modified: str
    part_key: str
    received_bytes: int


@dataclass(frozen=True)
class NotModified:
    """The result of a transfer if the stored file is still the current version on the server."""

    etag: str = ""
    last_modified: str = ""
    part_key: str = ""


def fetch(tools: TransferTools, wanted: QueuedDownload, records: TransferRecords, events: TransferEvents) -> Fetched | NotModified:
    """Fetch one file, and resume its partial download if that is safe.

    Raise StoppedError if the transfer was stopped, DiskFullError, DownloadError, or an error that `tools.translate` returns.
    """
    return _Transfer(tools, wanted, records, events).run()


class _Transfer:
    """One attempt to fetch a file."""

    def __init__(self, tools: TransferTools, wanted: QueuedDownload, records: TransferRecords, events: TransferEvents) -> None:
        self._client, self._folder, self._buffers = tools.client, tools.folder, tools.buffers
        self._layout, self._limits, self._translate = tools.layout, tools.limits, tools.translate
        self._wanted = wanted
        self._records = records
        self._events = events
        self._stopped = events.stopped
        self._where = shown_url(wanted.url)
        self._recorded_part = ""  # the key of the partial download that the store has recorded
        self._received_bytes = 0

    def run(self) -> Fetched | NotModified:
        part = self._open_part()
        if part is not None:
            try:
                found = self._resume(part)
            finally:
                part.close()
            if found is not None:
                return found
            self._folder.remove_part(part.key)
        return self._fetch_from_start()

    def _open_part(self) -> PartFile | None:
        """Open the partial download to resume; return None if there is none."""
        wanted = self._wanted
        if not (wanted.part_key and (wanted.part_etag or wanted.part_last_modified)):
            return None
        part = self._folder.open_part(wanted.part_key, self._records.is_recorded)
        if part is None:
            return None
        length = wanted.part_length
        if part.size == 0 or (length is not None and part.size > length):
            part.close()
            self._folder.remove_part(wanted.part_key)
            return None
        if length is None or part.size == length:  # request the last byte again, to get a response with all headers
            part.truncate(part.size - 1)
        return part

    def _resume(self, part: PartFile) -> Fetched | NotModified | None:
        """Fetch the rest of a partial download; return None if it cannot be resumed."""
        if part.size == 0:
            return None
        ours = Validators(self._wanted.part_etag, self._wanted.part_last_modified)
        hasher = Hasher(self._buffers)
        hasher.read_file(part.file, part.size)
        part.file.seek(part.size)
        with self._request({"Range": f"bytes={part.size}-", "If-Range": ours.for_range}) as response:
            sent = headers.content_range(response.headers)
            theirs = headers.validators(response.headers)
            if (response.status_code != 206 or sent is None or sent.first != part.size or headers.must_decode(response)
                    or (any((theirs.etag, theirs.last_modified)) and not headers.same_version(ours, theirs))):
                return None
            total = sent.total if sent.total is not None else self._wanted.part_length
            # If the total length is unknown, it is not possible to tell whether the file is complete.
            if total is None or self._wanted.part_length not in (None, total) or sent.last + 1 > total:
                return None
            self._recorded_part = part.key
            return self._receive(response, part, hasher, total, fresh=False)

    def _fetch_from_start(self) -> Fetched | NotModified:
        conditions = self._conditions()
        with self._request(conditions) as response:
            theirs = headers.validators(response.headers)
            if response.status_code == 304 and conditions:
                return NotModified(theirs.etag, theirs.last_modified, self._wanted.part_key)
            if response.status_code not in (200, 203) and (
                    response.status_code != 206 or missing_range(206, response.headers.get("Content-Range", ""))):  # a 206 may contain the whole file
                raise DownloadError(f"the server responded with status {response.status_code}, which does not fit the request",
                                    where=self._where, retry=True)
            total = None if headers.must_decode(response) else headers.length_of(response.headers)
            # Some servers send validators but never a 304: they respond to a conditional request with the file.
            if conditions and total is not None and total == self._wanted.file_size and headers.same_version(
                    Validators(self._wanted.etag, self._wanted.last_modified), theirs):
                return NotModified(theirs.etag, theirs.last_modified, self._wanted.part_key)
            part = self._folder.create_part(self._wanted.id)
            found = None
            try:
                self._folder.remove_part(self._wanted.part_key)  # this is a partial download of an earlier version
                found = self._receive(response, part, Hasher(self._buffers), total, fresh=True)
            finally:
                part.close()
                if found is None and self._recorded_part != part.key:
                    self._folder.remove_part(part.key)
            return found

    def _conditions(self) -> dict[str, str]:
        """Return the headers that make the request conditional; {} if the file must be fetched even if it is unchanged."""
        wanted = self._wanted
        if not self._has_version() or wanted.sha256_wanted.lower() not in ("", wanted.file_sha256):
            return {}
        found = {"If-None-Match": wanted.etag, "If-Modified-Since": wanted.last_modified}
        return {name: value for name, value in found.items() if value}

    def _has_version(self) -> bool:
        """Return whether the recorded version of the file is still stored, or was deleted only because of the retention limits."""
        wanted = self._wanted
        return self._folder.has(wanted.file_key) if wanted.file_key else bool(wanted.file_sha256)

    def _request(self, extra: dict[str, str]) -> requests.Response:
        if self._stopped.is_set():
            raise self._stop()
        return request_file(self._client, self._wanted, extra, limits=self._limits, translate=self._translate)

    def _receive(self, response: requests.Response, part: PartFile, hasher: Hasher, total: int | None, *,
                 fresh: bool) -> Fetched | NotModified:
        strong = Validators() if headers.must_decode(response) else headers.strong_validators(response.headers)
        self._events.on_response(response, part.size, total)
        try:
            self._check_size(part, total)
            self._receive_body(response, part, hasher, total, strong)
            part.sync()
            sha256 = hasher.hexdigest()
            self._verify(response, part, sha256, fresh=fresh)
            return self._finish(response, part, sha256)
        except PipelineError as error:
            if isinstance(error, DiskFullError):
                self._folder.leave_space_for_store(part)
            # If the file could not be stored, the bytes are not the cause.
            if (error.retry or isinstance(error, StoreError)) and not isinstance(error, _MismatchError):
                self._checkpoint(part, strong, total)
            else:
                self._discard(part)
            raise
        finally:
            hasher.close()

    def _check_size(self, part: PartFile, total: int | None) -> None:
        if total is None:
            return
        if total > self._limits.max_bytes:
            raise self._too_large(f"the file has {size_for_people(total)}")
        if self._folder.free_bytes() - (total - part.size) < self._limits.keep_free_bytes:
            raise disk_full(self._where)

    def _stop(self) -> StoppedError:
        return StoppedError("stopped", where=self._where, retry=True)

    def _too_large(self, what: str) -> DownloadError:
        return DownloadError(f"{what}; at most {size_for_people(self._limits.max_bytes)} are allowed", where=self._where,
                             fix="increase downloads.max_size")

    def _receive_body(self, response: requests.Response, part: PartFile, hasher: Hasher, total: int | None,
                      strong: Validators) -> None:
        """Write the whole body to the part file. The size limit applies to the bytes that arrive, not to the Content-Length."""
        limits = self._limits
        body = Body(response, codings=headers.codings(response), unpack=headers.must_decode(response),
                    watch_bytes=limits.max_bytes)
        window_at, window_bytes = time.monotonic(), 0
        while count := self._receive_chunk(body, part, hasher, total):
            self._received_bytes += count
            self._events.on_bytes(count)
            if self._stopped.is_set():
                raise self._stop()
            window_bytes += count
            if (now := time.monotonic()) - window_at > limits.stall_s:
                if window_bytes < limits.stall_bytes:
                    raise self._stalled()
                window_at, window_bytes = now, 0
            # The first checkpoint is early, because a kill before the first checkpoint loses all bytes of the file.
            if part.size - part.synced >= (limits.sync_bytes if self._recorded_part else min(limits.sync_bytes, MIB)):
                self._checkpoint(part, strong, total)
        # If the socket was shut down to stop this transfer, the body only seems to have ended.
        if self._stopped.is_set() or (total is not None and part.size != total):
            raise self._cut(part, total)

    def _receive_chunk(self, body: Body, part: PartFile, hasher: Hasher, total: int | None) -> int:
        """Read a chunk, write it to the part file and hash it. Return its size; 0 at the end of the body."""
        limits, buffer = self._limits, self._buffers.take()
        hashed = False
        try:
            count = self._fill(body, buffer, part, total)
            if part.size + count > limits.max_bytes:
                raise self._too_large("the file is too large")
            if self._folder.free_bytes() - count < limits.keep_free_bytes:
                raise disk_full(self._where)
            part.write(buffer[:count])
            hasher.update(buffer, count)
            hashed = True
            return count
        finally:
            if not hashed:
                self._buffers.give(buffer)

    def _fill(self, body: Body, buffer: memoryview, part: PartFile, total: int | None) -> int:
        try:
            return body.fill(buffer)
        except (ReadTimeoutError, TimeoutError) as error:
            raise self._stalled() from error
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            if self._stopped.is_set():  # the socket was shut down to stop this transfer
                raise self._stop() from error
            raise self._cut(part, total, not_whole(error)) from error

    def _stalled(self) -> DownloadError:
        return DownloadError(f"the server sent too little data in {self._limits.stall_s:g} s", where=self._where, retry=True,
                             fix="increase downloads.timeout if the server is slow")

    def _cut(self, part: PartFile, total: int | None, why: str = "") -> DownloadError:
        if self._stopped.is_set():
            return self._stop()
        if total is not None:  # `total` is the size of the whole file, of which this response may contain only a part
            why = cut_short(part.size, total)
        return DownloadError(why or f"{cut_short(part.size, None)}: the connection broke", where=self._where, retry=True)

    def _checkpoint(self, part: PartFile, strong: Validators, total: int | None) -> None:
        """Sync the part file. If the server sent a strong validator, record the version, so that it can be resumed."""
        try:
            part.sync()
        except DiskFullError:
            part.truncate(part.synced)  # the bytes after the last sync may not be on the disk
        if part.size and strong.for_range and self._recorded_part != part.key:
            self._records.record_part(part_key=part.key, etag=strong.etag, last_modified=strong.last_modified, length=total)
            self._recorded_part = part.key

    def _discard(self, part: PartFile) -> None:
        """Delete a partial download that cannot be resumed."""
        if self._recorded_part == part.key:
            self._records.record_part(part_key="", etag="", last_modified="", length=None)
            self._recorded_part = ""
        self._folder.remove_part(part.key)

    def _verify(self, response: requests.Response, part: PartFile, sha256: str, *, fresh: bool) -> None:
        """Compare the file with the spider's and the server's checksums. If the file was resumed (not `fresh`), retry a mismatch."""
        wanted = self._wanted.sha256_wanted.strip().lower()
        wrong = "the SHA-256 checksum from the spider" if wanted and wanted != sha256 else ""
        if not wrong and not headers.must_decode(response):
            for algorithm, digest in announced(response.headers, partial=not fresh).items():
                if digest != (bytes.fromhex(sha256) if algorithm == "sha256" else of_file(part.file, algorithm)):
                    wrong = f"the {algorithm} checksum in the response headers"
        if wrong:
            raise _MismatchError(f"the file does not match {wrong}", where=self._where, retry=not fresh,
                                 fix="the partial download was deleted")

    def _finish(self, response: requests.Response, part: PartFile, sha256: str) -> Fetched | NotModified:
        found = headers.validators(response.headers)
        wanted = self._wanted
        if sha256 == wanted.file_sha256 and self._has_version():
            return NotModified(found.etag, found.last_modified, part.key)
        kind = filenames.media_type(response.headers.get("Content-Type", ""))
        preferred = filenames.choose(preferred=wanted.name, disposition=response.headers.get("Content-Disposition", ""),
                                     url=response.url, content_type=kind)
        duplicates = self._records.same_content(sha256, part.size) if self._layout.link_duplicates else ()
        key, name = self._folder.finish(part, self._layout.path_of(wanted, preferred), sha256, self._records.is_recorded,
                                        duplicates)
        return Fetched(key=key, name=name, size_bytes=part.size, sha256=sha256, content_type=kind, etag=found.etag,
                       last_modified=found.last_modified, part_key=part.key, received_bytes=self._received_bytes)
