"""A pool of proxies: a session uses one proxy until the proxy fails.

A failed proxy is suspended for some time.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.session.proxies.config import shown_proxy
from pipeline.store.health.proxy_health import PoolHealth, ProxyHealth
from pipeline.store.session_files import SessionFile

_FIRST_REST_S = 60.0
_LONGEST_REST_S = 3600.0


class ProxyPool:
    """The proxies of one session. The failures of each proxy are stored in `file`, without credentials.

    Several processes may use the file: a proxy that one of them suspends is suspended for all. urls: at least one proxy URL, in
    order of preference. Times are seconds since 1970.
    """

    def __init__(self, urls: tuple[str, ...], file: SessionFile) -> None:
        self._urls = {shown_proxy(url): url for url in urls}
        self._file = file
        self._version = -1
        self._state = PoolHealth()
        self._refresh()

    def choose(self, now_s: float) -> str:
        """Return the URL of the proxy to use: the current proxy, unless it is suspended because of a failure.

        If the current proxy is suspended, return the first proxy that is not. If all proxies are suspended, return the proxy
        whose suspension ends first. now_s: the current time.
        """
        self._refresh()
        current = self._state.current
        if current not in self._urls or self._rests_until(current) > now_s:
            current = min(self._urls, key=lambda shown: max(self._rests_until(shown), now_s))
        if current != self._state.current:
            def change(state: PoolHealth) -> None:
                state.current = current
            self._change(change)
        return self._urls[current]

    def failed(self, now_s: float) -> bool:
        """Suspend the current proxy for some time, because it has failed. Return whether another proxy can be used."""
        failed = self._state.current

        def change(state: PoolHealth) -> None:
            health = state.health.setdefault(failed, ProxyHealth())
            health.failures += 1
            health.resting_until_s = now_s + min(_FIRST_REST_S * 2.0 ** (health.failures - 1), _LONGEST_REST_S)
        self._change(change)
        return any(self._rests_until(shown) <= now_s for shown in self._urls)

    def worked(self) -> None:
        """Reset the failure count of the current proxy, because the proxy works."""
        working = self._state.current
        if working in self._state.health:
            self._change(lambda state: state.health.pop(working, None))

    def _rests_until(self, shown: str) -> float:
        return self._state.health.get(shown, ProxyHealth()).resting_until_s

    def _refresh(self) -> None:
        """Read the file again if another process has changed it."""
        if self._file.version() != self._version:
            data, self._version = self._file.load()
            self._state = PoolHealth.of(data)

    def _change(self, change: Callable[[PoolHealth], object]) -> None:
        """Apply a change to the state and write the file. If another process has written it meanwhile, apply the change to that state."""
        while True:
            change(self._state)
            version = self._file.replace(self._state.to_json(), version=self._version)
            if version is not None:
                self._version = version
                return
            self._refresh()
