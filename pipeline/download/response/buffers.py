"""A pool of reused buffers, passed from the network to the disk to the hash."""

from __future__ import annotations

import queue


class Buffers:
    """A few buffers of one size, taken and given back by any thread.

    The hash may lag behind the network by all buffers but one.
    """

    def __init__(self, size_bytes: int, count: int = 4) -> None:
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(memoryview(bytearray(size_bytes)))

    def take(self) -> memoryview:
        """Take a free buffer; wait for one when there is none."""
        return self._free.get()

    def give(self, buffer: memoryview) -> None:
        self._free.put(buffer)
