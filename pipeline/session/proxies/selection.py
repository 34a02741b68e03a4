"""Selects the proxy of a session: none, one, one of a pool, or those of the environment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.session.proxies.config import EnvironmentProxies, shown_proxy
from pipeline.session.proxies.pool import ProxyPool


@dataclass(frozen=True)
class ProxyRoute:
    """Which proxy a client uses. url_for: the proxy for a URL, None for none.

    change: called with a proxy that failed; returns whether there is another one.
    """

    url_for: Callable[[str], str | None]
    change: Callable[[str | None], bool] = lambda failed: False


class ProxySelection:
    """The proxy of one session. Thread-safe.

    urls: with percent-encoded credentials; the health of several is kept in pool_file. environment: used instead of urls.
    """

    def __init__(self, urls: tuple[str, ...], pool_file: Path, environment: EnvironmentProxies | None = None,
                 clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._environment = environment
        self._pool = ProxyPool(urls, pool_file) if len(urls) > 1 else None
        self._lock = threading.Lock()
        self.current = self._pool.choose(clock()) if self._pool else next(iter(urls), None)

    def url_for(self, url: str) -> str | None:
        """The proxy for a URL, None for none."""
        return self._environment.url_for(url) if self._environment is not None else self.current

    def route(self) -> ProxyRoute:
        """A route that changes to the pool's next proxy when one fails."""
        return ProxyRoute(self.url_for, self.change)

    def pinned(self) -> ProxyRoute:
        """A route that stays with the proxy that is current now."""
        current = self.current
        return ProxyRoute(self.url_for if self._environment is not None else lambda url: current)

    def change(self, failed: str | None) -> bool:
        """Let a proxy rest that is down or banned, and make another one current. False when there is no other.

        failed: with or without credentials; several threads may report the same proxy.
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
        """Note a response through the current proxy: its earlier failures no longer count."""
        if self._pool is not None:
            with self._lock:
                self._pool.worked()
