"""One file from a server to the disk: chunk by chunk, counted, hashed, resumed, synced, named.

A part goes on only when the server proves with If-Range, ETag and Content-Range that the bytes are of the same
version; otherwise the file starts afresh in a new part, so that two versions never end up in one file.
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
from pipeline.download.limits import MIB, Limits
from pipeline.download.response import answer
from pipeline.download.response.answer import Translate, Validators
from pipeline.download.response.body import Body
from pipeline.download.response.buffers import Buffers
from pipeline.download.storage import filenames
from pipeline.download.storage.part_files import Landing, Part, Taken
from pipeline.download.storage.paths import Places
from pipeline.download.storage.safe_folders import disk_full
from pipeline.errors import DiskFullError, DownloadError, PipelineError
from pipeline.model import QueuedDownload
from pipeline.session.errors import not_whole
from pipeline.session.responses.errors import cut_short
from pipeline.text import shown_url


class StoppedError(DownloadError):
    """We were told to stop; what has come is kept."""


class _MismatchError(DownloadError):
    """The bytes are not what they should be; the part is of no use."""


class NotePart(Protocol):
    """Commits which version the bytes in a part are of; a part that was never noted is never gone on with."""

    def __call__(self, *, part_key: str, etag: str, last_modified: str, length: int | None) -> None: ...


OnAnswer = Callable[[requests.Response, int, int | None], None]
Twins = Callable[[str, int], Sequence[str]]
"""Keys of the spider's files with this SHA-256 and size."""


@dataclass(frozen=True)
class Fetched:
    """A whole file under its final name. part_key: to be removed once the store knows the file ("" for none).

    received_bytes: what came over the wire in this attempt.
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
    """The version we have is still the one on the server."""

    etag: str = ""
    last_modified: str = ""
    part_key: str = ""


def fetch(client: requests.Session, wanted: QueuedDownload, landing: Landing, *, buffers: Buffers, places: Places, limits: Limits,
          translate: Translate, on_bytes: Callable[[int], None], note_part: NotePart, stopped: threading.Event,
          taken: Taken = lambda key: False, twins: Twins = lambda sha256, size_bytes: (),
          on_answer: OnAnswer = lambda response, offset, total: None,
          ) -> Fetched | NotModified:
    """Fetch one file, going on with its part where that is safe.

    on_bytes: told of every chunk that is on disk, may raise to end the transfer; taken: whether a download owns
    a key; twins: keys of files with a content; on_answer: the open response, where it starts, and how long the whole
    file is. To stop a silent transfer set `stopped` and shut its socket down. Raises StoppedError, DiskFullError,
    DownloadError and what `translate` gives.
    """
    return _Transfer(client=client, wanted=wanted, landing=landing, buffers=buffers, places=places, limits=limits, translate=translate,
                     on_bytes=on_bytes, on_answer=on_answer, note_part=note_part, stopped=stopped, taken=taken,
                     twins=twins).run()


@dataclass
class _Transfer:
    """One attempt. noted: key of the part that the store knows, so that a later attempt may go on with it."""

    client: requests.Session
    wanted: QueuedDownload
    landing: Landing
    buffers: Buffers
    places: Places
    limits: Limits
    translate: Translate
    on_bytes: Callable[[int], None]
    on_answer: OnAnswer
    note_part: NotePart
    stopped: threading.Event
    taken: Taken
    twins: Twins
    noted: str = ""
    received_bytes: int = 0

    @property
    def where(self) -> str:
        return shown_url(self.wanted.url)

    def run(self) -> Fetched | NotModified:
        part = self._old_part()
        if part is not None:
            try:
                found = self._go_on(part)
            finally:
                part.close()
            if found is not None:
                return found
            self.landing.remove_part(part.key)
        return self._afresh()

    def _old_part(self) -> Part | None:
        """The part to go on with, cut so that at least one byte is missing: its answer carries all headers."""
        wanted = self.wanted
        if not (wanted.part_key and (wanted.part_etag or wanted.part_last_modified)):
            return None
        part = self.landing.old_part(wanted.part_key, self.taken)
        if part is None:
            return None
        length = wanted.part_length
        if part.size == 0 or (length is not None and part.size > length):
            part.close()
            self.landing.remove_part(wanted.part_key)
            return None
        if length is None or part.size == length:
            part.truncate(part.size - 1)
        return part

    def _go_on(self, part: Part) -> Fetched | NotModified | None:
        """The rest of a part; None when the server has another version, or does not do ranges."""
        if part.size == 0:
            return None
        ours = Validators(self.wanted.part_etag, self.wanted.part_last_modified)
        hasher = Hasher(self.buffers)
        hasher.read_file(part.file, part.size)
        part.file.seek(part.size)
        with self._ask({"Range": f"bytes={part.size}-", "If-Range": ours.for_range}) as response:
            span = answer.span_of(response.headers)
            theirs = answer.validators(response.headers)
            if (response.status_code != 206 or span is None or span.first != part.size or answer.packed(response)
                    or (any((theirs.etag, theirs.last_modified)) and not answer.same_version(ours, theirs))):
                return None
            total = span.total if span.total is not None else self.wanted.part_length
            # Without a length nobody could say whether the rest is all of it.
            if total is None or self.wanted.part_length not in (None, total) or span.last + 1 > total:
                return None
            self.noted = part.key
            return self._receive(response, part, hasher, total, fresh=False)

    def _afresh(self) -> Fetched | NotModified:
        conditions = self._conditions()
        with self._ask(conditions) as response:
            theirs = answer.validators(response.headers)
            if response.status_code == 304 and conditions:
                return NotModified(theirs.etag, theirs.last_modified, self.wanted.part_key)
            if response.status_code not in (200, 203):
                raise DownloadError(f"the server answered {response.status_code} to a question that was not asked",
                                    where=self.where, retry=True)
            total = None if answer.packed(response) else answer.length_of(response.headers)
            # Some servers know validators and yet send the file again.
            if conditions and total is not None and total == self.wanted.file_size and answer.same_version(
                    Validators(self.wanted.etag, self.wanted.last_modified), theirs):
                return NotModified(theirs.etag, theirs.last_modified, self.wanted.part_key)
            part = self.landing.new_part(self.wanted.id)
            found = None
            try:
                self.landing.remove_part(self.wanted.part_key)  # of a version that is gone
                found = self._receive(response, part, Hasher(self.buffers), total, fresh=True)
            finally:
                part.close()
                if found is None and self.noted != part.key:
                    self.landing.remove_part(part.key)
            return found

    def _conditions(self) -> dict[str, str]:
        """Only for a file that we have as far as we want it, and that is known to be what the spider wants."""
        wanted = self.wanted
        if not self._had() or wanted.sha256_wanted.lower() not in ("", wanted.file_sha256):
            return {}
        found = {"If-None-Match": wanted.etag, "If-Modified-Since": wanted.last_modified}
        return {name: value for name, value in found.items() if value}

    def _had(self) -> bool:
        """Whether the last version is still there, or was deleted to keep within the limits: it is not wanted again."""
        wanted = self.wanted
        return self.landing.has(wanted.file_key) if wanted.file_key else bool(wanted.file_sha256)

    def _ask(self, extra: dict[str, str]) -> requests.Response:
        if self.stopped.is_set():
            raise StoppedError("stopped", where=self.where, retry=True)
        return answer.ask(self.client, self.wanted, extra, limits=self.limits, translate=self.translate)

    def _receive(self, response: requests.Response, part: Part, hasher: Hasher, total: int | None, *,
                 fresh: bool) -> Fetched | NotModified:
        strong = Validators() if answer.packed(response) else answer.strong_validators(response.headers)
        self.on_answer(response, part.size, total)
        try:
            self._check_room(part, total)
            self._body(response, part, hasher, total, strong)
            part.sync()
            sha256 = hasher.hexdigest()
            self._verify(response, part, sha256, fresh=fresh)
            return self._finished(response, part, sha256)
        except PipelineError as error:
            if isinstance(error, DiskFullError):
                self.landing.give_room(part)
            if error.retry and not isinstance(error, _MismatchError):
                self._checkpoint(part, strong, total)
            else:
                self._forget(part)
            raise
        finally:
            hasher.close()

    def _check_room(self, part: Part, total: int | None) -> None:
        if total is None:
            return
        if total > self.limits.max_bytes:
            raise self._too_large(f"is {total} bytes")
        if self.landing.free_bytes() - (total - part.size) < self.limits.keep_free_bytes:
            raise disk_full(self.where)

    def _too_large(self, what: str) -> DownloadError:
        return DownloadError(f"{what}, more than the {self.limits.max_bytes} bytes allowed", where=self.where,
                             fix="raise downloads.max_size")

    def _body(self, response: requests.Response, part: Part, hasher: Hasher, total: int | None,
              strong: Validators) -> None:
        """All of the body into the part. What a server announces is never relied on: bytes are counted."""
        limits, body = self.limits, Body(response, codings=answer.codings(response), unpack=answer.packed(response),
                                         watch_bytes=self.limits.max_bytes)
        window_at, window_bytes = time.monotonic(), 0
        while count := self._chunk(body, part, hasher, total):
            self.received_bytes += count
            self.on_bytes(count)
            if self.stopped.is_set():
                raise StoppedError("stopped", where=self.where, retry=True)
            window_bytes += count
            if (now := time.monotonic()) - window_at > limits.stall_s:
                if window_bytes < limits.stall_bytes:
                    raise self._stalled()
                window_at, window_bytes = now, 0
            # The first checkpoint comes early: before it, a kill would cost all there is.
            if part.size - part.synced >= (limits.sync_bytes if self.noted else min(limits.sync_bytes, MIB)):
                self._checkpoint(part, strong, total)
        # A socket that was shut for us to stop looks like a body that ended.
        if self.stopped.is_set() or (total is not None and part.size != total):
            raise self._cut(part, total)

    def _chunk(self, body: Body, part: Part, hasher: Hasher, total: int | None) -> int:
        """From the network onto the disk and on to the hash; how many bytes, 0 at the end of the body."""
        limits, buffer = self.limits, self.buffers.take()
        hashed = False
        try:
            count = self._fill(body, buffer, part, total)
            if part.size + count > limits.max_bytes:
                raise self._too_large("goes on and on")
            if self.landing.free_bytes() - count < limits.keep_free_bytes:
                raise disk_full(self.where)
            part.write(buffer[:count])
            hasher.update(buffer, count)
            hashed = True
            return count
        finally:
            if not hashed:
                self.buffers.give(buffer)

    def _fill(self, body: Body, buffer: memoryview, part: Part, total: int | None) -> int:
        try:
            return body.fill(buffer)
        except (ReadTimeoutError, TimeoutError) as error:
            raise self._stalled() from error
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            if self.stopped.is_set():  # whoever stopped us shut the socket
                raise StoppedError("stopped", where=self.where, retry=True) from error
            raise self._cut(part, total, not_whole(error)) from error

    def _stalled(self) -> DownloadError:
        return DownloadError(f"was silent for {self.limits.stall_s:g} s", where=self.where, retry=True,
                             fix="raise downloads.timeout if it is a slow server")

    def _cut(self, part: Part, total: int | None, why: str = "") -> DownloadError:
        if self.stopped.is_set():
            return StoppedError("stopped", where=self.where, retry=True)
        if total is not None:  # of the whole file, of which this answer may be a part
            why = cut_short(part.size, total)
        return DownloadError(why or f"{cut_short(part.size, None)}: the connection broke", where=self.where, retry=True)

    def _checkpoint(self, part: Part, strong: Validators, total: int | None) -> None:
        """Sync what has come and write down what it is of, where the server gave a way to go on with it."""
        try:
            part.sync()
        except DiskFullError:
            part.truncate(part.synced)  # nobody knows how much of the rest is on the disk
        if part.size and strong.for_range and self.noted != part.key:
            self.note_part(part_key=part.key, etag=strong.etag, last_modified=strong.last_modified, length=total)
            self.noted = part.key

    def _forget(self, part: Part) -> None:
        """Give up a part that will never be of use."""
        if self.noted == part.key:
            self.note_part(part_key="", etag="", last_modified="", length=None)
            self.noted = ""
        self.landing.remove_part(part.key)

    def _verify(self, response: requests.Response, part: Part, sha256: str, *, fresh: bool) -> None:
        """Against what the spider wants and what the server announced. A mismatch after a resume can pass."""
        wanted = self.wanted.sha256_wanted.strip().lower()
        wrong = "the SHA-256 that the spider gave" if wanted and wanted != sha256 else ""
        if not wrong and not answer.packed(response):
            for algorithm, digest in announced(response.headers, partial=not fresh).items():
                if digest != (bytes.fromhex(sha256) if algorithm == "sha256" else of_file(part.file, algorithm)):
                    wrong = f"the {algorithm} that the server announced"
        if wrong:
            raise _MismatchError(f"does not match {wrong}", where=self.where, retry=not fresh,
                                 fix="nothing of it was kept")

    def _finished(self, response: requests.Response, part: Part, sha256: str) -> Fetched | NotModified:
        found = answer.validators(response.headers)
        wanted = self.wanted
        if sha256 == wanted.file_sha256 and self._had():
            return NotModified(found.etag, found.last_modified, part.key)
        kind = filenames.media_type(response.headers.get("Content-Type", ""))
        wish = filenames.choose(wish=wanted.name, disposition=response.headers.get("Content-Disposition", ""),
                            url=response.url, content_type=kind)
        twins = self.twins(sha256, part.size) if self.places.link_duplicates else ()
        key, name = self.landing.finish(part, self.places.of(wanted, wish), sha256, self.taken, twins)
        return Fetched(key=key, name=name, size_bytes=part.size, sha256=sha256, content_type=kind, etag=found.etag,
                       last_modified=found.last_modified, part_key=part.key, received_bytes=self.received_bytes)
