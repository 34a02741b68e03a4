"""A pool of proxies: a session uses one proxy until the proxy fails. A failed proxy is suspended for some time."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SessionError
from pipeline.session.private_file import write_private
from pipeline.session.proxies.config import shown_proxy
from pipeline.store.health.proxy_health import PoolHealth, ProxyHealth, read_pool

_FIRST_REST_S = 60.0
_LONGEST_REST_S = 3600.0


class ProxyPool:
    """The proxies of one session. The failures of each proxy are stored in `file`, without credentials.

    urls: at least one proxy URL, in order of preference. Times are seconds since 1970.
    """

    def __init__(self, urls: tuple[str, ...], file: Path) -> None:
        self._urls = {shown_proxy(url): url for url in urls}
        self._file = file
        self._state = _read(file)

    def choose(self, now_s: float) -> str:
        """Return the URL of the proxy to use: the current proxy, unless it is suspended because of a failure.

        If the current proxy is suspended, return the first proxy that is not. If all proxies are suspended, return the proxy
        whose suspension ends first. now_s: the current time.
        """
        current = self._state.current
        if current not in self._urls or self._rests_until(current) > now_s:
            current = min(self._urls, key=lambda shown: max(self._rests_until(shown), now_s))
        if current != self._state.current:
            self._state.current = current
            self._save()
        return self._urls[current]

    def failed(self, now_s: float) -> bool:
        """Suspend the current proxy for some time, because it has failed. Return whether another proxy can be used."""
        health = self._state.health.setdefault(self._state.current, ProxyHealth())
        health.failures += 1
        health.resting_until_s = now_s + min(_FIRST_REST_S * 2.0 ** (health.failures - 1), _LONGEST_REST_S)
        self._save()
        return any(self._rests_until(shown) <= now_s for shown in self._urls)

    def worked(self) -> None:
        """Reset the failure count of the current proxy, because the proxy works."""
        if self._state.health.pop(self._state.current, None) is not None:
            self._save()

    def _rests_until(self, shown: str) -> float:
        return self._state.health.get(shown, ProxyHealth()).resting_until_s

    def _save(self) -> None:
        write_private(self._file, self._state.to_json())


def _read(file: Path) -> PoolHealth:
    try:
        return read_pool(file)
    except OSError as error:
        raise SessionError(f"the file cannot be read: {error.strerror}", where=str(file), fix="check the file's owner and mode") from error
