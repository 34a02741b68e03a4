"""Compute the SHA-256 during a transfer, and read the checksums that servers send in headers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import queue
import re
import threading
from collections.abc import Mapping
from typing import BinaryIO

from pipeline.download.limits import MIB
from pipeline.download.response.buffers import Buffers

_ALGORITHMS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "sha-1": "sha1", "md5": "md5"}
_ALONE_BYTES = MIB
"""Files up to this size are hashed without a second thread, since starting a thread would take longer than hashing."""


class Hasher:
    """Computes the SHA-256 of a stream: the first MiB in the calling thread, the rest in a second thread.

    hashlib releases the global interpreter lock, so that reading and writing need not wait for the hash. If the transfer fails,
    the caller must call close(). buffers: the pool to which each buffer is returned after its bytes have been hashed.
    """

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._hash = hashlib.sha256()
        self._seen_bytes = 0
        self._filled: queue.SimpleQueue[tuple[memoryview, int] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def read_file(self, file: BinaryIO, length: int) -> None:
        """Hash the first `length` bytes of a file in the calling thread.

        Raise EOFError if the file is shorter.
        """
        buffer = memoryview(bytearray(MIB))
        file.seek(0)
        while length:
            count = file.readinto(buffer[:min(length, MIB)])  # type: ignore[attr-defined]  # raw files have it
            if not count:
                raise EOFError("the file became shorter while it was read")
            self._hash.update(buffer[:count])
            length -= count

    def update(self, buffer: memoryview, count: int) -> None:
        """Hash the first `count` bytes of a buffer, then return the buffer to the pool."""
        self._seen_bytes += count
        if self._thread is None:
            if self._seen_bytes <= _ALONE_BYTES:
                self._hash.update(buffer[:count])
                self._buffers.give(buffer)
                return
            self._thread = threading.Thread(target=self._work, name="sha256", daemon=True)
            self._thread.start()
        self._filled.put((buffer, count))

    def _work(self) -> None:
        while (filled := self._filled.get()) is not None:
            buffer, count = filled
            self._hash.update(buffer[:count])
            self._buffers.give(buffer)

    def hexdigest(self) -> str:
        """Wait until all bytes are hashed, and return the digest."""
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        if self._thread is not None:
            self._filled.put(None)
            self._thread.join()
            self._thread = None


def announced(headers: Mapping[str, str], *, partial: bool) -> dict[str, bytes]:
    """Return the checksums of the whole file that response headers contain, the strongest algorithm first.

    The keys are hashlib's names of the algorithms. partial: whether the response is a 206. Repr-Digest (RFC 9530) and Digest (RFC
    3230) describe the whole file even in a 206 response; Content-Digest (RFC 9530) and Content-MD5 (RFC 1864) describe only the
    body of the response, and are therefore ignored if `partial` is True. Invalid values are ignored.
    """
    found: dict[str, bytes] = {}
    names = ["Repr-Digest", "Digest"] if partial else ["Repr-Digest", "Content-Digest", "Digest"]
    for name in names:
        # RFC 9530: sha-256=:base64:, RFC 3230: SHA-256=base64
        for algorithm, value in re.findall(r"([\w-]+)=:?([A-Za-z0-9+/=]+):?", headers.get(name, "")[:2048]):
            _keep(found, _ALGORITHMS.get(algorithm.lower()), value)
    if not partial:
        _keep(found, "md5", headers.get("Content-MD5", "").strip())
    return {name: found[name] for name in ("sha512", "sha256", "sha1", "md5") if name in found}


def _keep(found: dict[str, bytes], algorithm: str | None, value: str) -> None:
    if algorithm is None:
        return
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return
    if len(digest) == hashlib.new(algorithm, usedforsecurity=False).digest_size:
        found.setdefault(algorithm, digest)


def of_file(file: BinaryIO, algorithm: str) -> bytes:
    """Return the digest of a whole file. The file must be open for reading in binary mode."""
    file.seek(0)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    buffer = memoryview(bytearray(MIB))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
    return digest.digest()
