"""Selects the proxy of a session.

No proxy, a single proxy, a proxy of a pool, or the environment's proxies.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.session.proxies.config import EnvironmentProxies, shown_proxy
from pipeline.session.proxies.pool import ProxyPool
from pipeline.store.session_files import SessionFile


@dataclass(frozen=True)
class ProxyRoute:
    """How a client selects its proxy.

    url_for: a function that returns the URL of the proxy for a request URL, or None for no proxy; change: a function that the
    client calls with the URL of a failed proxy, and that returns whether another proxy can be used.
    """

    url_for: Callable[[str], str | None]
    change: Callable[[str | None], bool] = lambda failed: False


class ProxySelection:
    """Selects the proxy of one session. Thread-safe.

    urls: proxy URLs with percent-encoded credentials; several URLs form a pool. pool_file: the file in which the failures of the
    pool's proxies are stored. environment: the proxies in environment variables, used instead of urls; None means that urls are
    used.
    """

    def __init__(self, urls: tuple[str, ...], pool_file: SessionFile, environment: EnvironmentProxies | None = None,
                 clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._environment = environment
        self._pool = ProxyPool(urls, pool_file) if len(urls) > 1 else None
        self._lock = threading.Lock()
        self.current = self._pool.choose(clock()) if self._pool else next(iter(urls), None)

    @property
    def is_fixed(self) -> bool:
        """Whether there is no other proxy to change to."""
        return self._pool is None

    def url_for(self, url: str) -> str | None:
        """Return the proxy to use for a URL; None means no proxy."""
        return self._environment.url_for(url) if self._environment is not None else self.current

    def route(self) -> ProxyRoute:
        """Return a route that changes to the next proxy of the pool when the current proxy fails."""
        return ProxyRoute(self.url_for, self.change)

    def pinned(self) -> ProxyRoute:
        """Return a route that always uses the proxy that is current at the time of this call."""
        current = self.current
        return ProxyRoute(self.url_for if self._environment is not None else lambda url: current)

    def fixed(self) -> ProxySelection:
        """Return a copy that always uses the proxy that is current at the time of this call."""
        fixed = copy.copy(self)
        fixed._pool = None
        return fixed

    def change(self, failed: str | None) -> bool:
        """Suspend a proxy that is down or banned, and select another proxy. Return False if no other proxy can be used.

        failed: the URL of the proxy, with or without credentials. If several threads report the same proxy, only the first report
        has an effect.
        """
        with self._lock:
            if failed is None or self.current is None or self._pool is None:
                return False
            if shown_proxy(failed) != shown_proxy(self.current):
                return True
            if not self._pool.failed(self._clock()):
                return False
            self.current = self._pool.choose(self._clock())
            return True

    def worked(self) -> None:
        """Reset the failure count of the current proxy, because a response has arrived through the proxy."""
        if self._pool is not None:
            with self._lock:
                self._pool.worked()
