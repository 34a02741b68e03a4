"""A rate limiter: a bucket that gets `rate` tokens per second, of which each request takes one."""

from __future__ import annotations

from math import ceil


class TokenBucket:
    """A full bucket. rate: tokens per second. burst: how many it holds. now: a monotonic time in seconds.

    The rate and the burst may be changed at any time, after a reload of the settings.
    """

    __slots__ = ("_at", "_left", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._left = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token; return False if there is none."""
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def left(self) -> int:
        """How many tokens can be taken at once."""
        return int(self._left)

    @property
    def wait_s(self) -> int:
        """The seconds until there is a token again, at least 1."""
        return max(1, ceil((1 - self._left) / self.rate))
