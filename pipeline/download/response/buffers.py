"""Buffers that go round between the network, the disk and the hash, which may lag behind by all but one."""

from __future__ import annotations

import queue


class Buffers:
    """A few buffers of one size, taken and given back by any thread."""

    def __init__(self, size_bytes: int, count: int = 4) -> None:
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(memoryview(bytearray(size_bytes)))

    def take(self) -> memoryview:
        """Waits for one that is free."""
        return self._free.get()

    def give(self, buffer: memoryview) -> None:
        self._free.put(buffer)
