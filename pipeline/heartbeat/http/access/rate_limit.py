"""Limits the requests of each token: a token bucket for each name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.heartbeat.token_bucket import TokenBucket

BURST_S = 3.0
"""The seconds of the rate that may be used at once."""
_MOST_NAMES = 1000


@dataclass(frozen=True)
class Allowance:
    """The result of one request. allowed: whether it is within the limit. left: requests that may follow at once. wait_s: until the next one."""

    allowed: bool
    left: int
    wait_s: int


class RateLimit:
    """rate: returns the requests per second that a name may send; 0 means no limit. clock: a monotonic clock in seconds.

    burst: how many requests a name may send at once; None means those of BURST_S seconds.
    """

    def __init__(self, rate: Callable[[], float], clock: Callable[[], float], *, burst: int | None = None) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    @property
    def policy(self) -> str:
        """The value of the header RateLimit-Policy: the burst, and in how many seconds it is refilled."""
        return f'"token";q={self.burst};w={int(BURST_S)}'

    @property
    def burst(self) -> int:
        return self._burst or max(1, int(self._rate() * BURST_S))

    def take(self, name: str) -> Allowance:
        """Count a request of `name`."""
        rate = self._rate()
        if rate <= 0:
            return Allowance(allowed=True, left=self.burst, wait_s=0)
        now = self._clock()
        bucket = self._buckets.pop(name, None) or TokenBucket(rate, self.burst, now)
        bucket.rate, bucket.burst = rate, self.burst
        allowed = bucket.take(now)
        if len(self._buckets) >= _MOST_NAMES:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[name] = bucket
        return Allowance(allowed, bucket.left, 0 if allowed else bucket.wait_s)
