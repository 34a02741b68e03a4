"""Reads proxy URLs from the settings and the environment; recognizes responses sent by a proxy itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

from pipeline.errors import UsageError
from pipeline.settings import ProxyTable, Settings
from pipeline.text import clean_line

ENVIRONMENT = "environment"
"""The proxy name in the settings that selects the proxies in http_proxy, https_proxy, all_proxy and no_proxy."""

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def proxy_urls(name: str, settings: Settings) -> tuple[str, ...]:
    """Return the URLs of the proxy or pool `name`, with percent-encoded credentials.

    Raises UsageError if the settings have no proxy of this name.
    """
    proxy = settings.proxies.get(name)
    if proxy is None:
        raise UsageError(f"no proxy named {name!r}", where=settings.file,
                         fix=f"known: {', '.join(settings.proxies) or 'none'}")
    return tuple(proxy_url(entry) for entry in (proxy if isinstance(proxy, tuple) else (proxy,)))


def proxy_url(entry: str | ProxyTable) -> str:
    """Return the URL of a proxy as scheme://user:password@host:port, with percent-encoded credentials."""
    url = entry if isinstance(entry, str) else entry.url
    parts = urlsplit(url)
    user_info, _, place = parts.netloc.rpartition("@")
    user, _, password = (unquote(part) for part in user_info.partition(":"))
    if isinstance(entry, ProxyTable) and entry.user is not None:
        user, password = entry.user, entry.password.reveal() if entry.password is not None else ""
    if parts.port is None:
        place = f"{place.rstrip(':')}:{_PORTS[parts.scheme]}"
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    return f"{parts.scheme}://{credentials}{place}"


@dataclass(frozen=True)
class EnvironmentProxies:
    """The proxies in the variables http_proxy, https_proxy, all_proxy and no_proxy.

    urls: maps the scheme of a request to the URL of the proxy to use; the key "all" is for all schemes without an entry of their
    own.
    """

    urls: Mapping[str, str] = field(repr=False)
    no_proxy: str = ""

    @classmethod
    def read(cls) -> EnvironmentProxies:
        """Read the environment variables. Raises UsageError for an invalid proxy URL."""
        found = getproxies_environment()
        no_proxy = found.pop("no", "")
        urls = {}
        for scheme in {"http", "https", "all"} & found.keys():
            url = found[scheme] if "://" in found[scheme] else f"http://{found[scheme]}"
            try:
                urls[scheme] = proxy_url(url)
            except (ValueError, KeyError) as error:
                raise UsageError("the value is not a proxy URL", where=f"{scheme}_proxy in the environment",
                                 fix="write the URL as http://host:port") from error
        return cls(urls, no_proxy)

    def url_for(self, url: str) -> str | None:
        """Return the proxy to use for a URL; None means no proxy."""
        parts = urlsplit(url)
        proxy = self.urls.get(parts.scheme) or self.urls.get("all")
        host = parts.netloc.rpartition("@")[2]
        if proxy is None or proxy_bypass_environment(host, {"no": self.no_proxy}):
            return None
        return proxy


def credentials_of(proxy: str) -> tuple[str, str] | None:
    """Return the decoded user name and password of a proxy URL; None if the URL has none."""
    parts = urlsplit(proxy)
    return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))


def refuses_credentials(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether a response shows that the proxy itself refused the user name or password (RFC 9110, 15.5.8).

    tinyproxy responds with status 401 instead of 407 to a wrong password.
    """
    return status == 407 or (status == 401 and 'realm="tinyproxy"' in headers.get("WWW-Authenticate", "").lower())


def shown_proxy(proxy: str) -> str:
    """Return a proxy URL without credentials (scheme://host:port), for use in messages."""
    parts = urlsplit(proxy)
    return clean_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", 200)
