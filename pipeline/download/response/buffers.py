"""A pool of reused buffers. A buffer is filled from the network, written to disk, and hashed."""

from __future__ import annotations

import queue


class Buffers:
    """A pool of a few buffers of the same size. Thread-safe.

    With several buffers, receiving can continue while earlier buffers are being hashed.
    """

    def __init__(self, size_bytes: int, count: int = 4) -> None:
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(memoryview(bytearray(size_bytes)))

    def take(self) -> memoryview:
        """Wait until a buffer is free, and return it."""
        return self._free.get()

    def give(self, buffer: memoryview) -> None:
        self._free.put(buffer)
