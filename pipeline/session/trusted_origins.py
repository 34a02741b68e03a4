"""Where a spider's secrets may go. Every sender asks here before it sends passwords, tokens, bodies or own headers.

An origin is scheme, host and port (RFC 6454, 4). What one origin is trusted with goes to no other, not along a redirect
either, unless the settings name it, and never from https to http.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.hosts import PORTS, host_and_port
from pipeline.urls import bare

Origin = tuple[str, str, int]
"""Scheme, host and port."""


def origin_of(url: str) -> Origin:
    return url.partition(":")[0].lower(), *host_and_port(url)


def shown_origin(url: str) -> str:
    """An origin as a browser writes it; "" for what is no http(s) URL."""
    scheme, host, port = origin_of(url)
    if not host:
        return ""
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == PORTS.get(scheme) else f"{scheme}://{name}:{port}"


def referer_for(source: str, target: str) -> str:
    """What a request for `target` says of the page that led to it, "" for nothing.

    The policy is strict-origin-when-cross-origin (Referrer Policy, 3.8), every browser's default: the whole URL to its own
    origin, the origin alone to another, nothing from https to http.
    """
    if not source.startswith(("http://", "https://")):
        return ""
    if origin_of(source) == origin_of(target):
        return bare(source)
    if source.startswith("https:") and not target.startswith("https:"):
        return ""
    return f"{shown_origin(source)}/" if shown_origin(source) else ""


class TrustedOrigins:
    """The origins that the settings trust with something.

    urls: what names them. setting: the key that names more. A site that sends http on to https, each on its default port,
    stays the same site.
    """

    def __init__(self, urls: Iterable[str], setting: str) -> None:
        self._urls = tuple(urls)
        self._origins = {origin_of(url) for url in self._urls}
        self._origins |= {("https", host, PORTS["https"]) for scheme, host, port in self._origins
                          if scheme == "http" and port == PORTS["http"]}
        self._setting = setting

    def trust(self, url: str, source: str = "") -> bool:
        """Whether what they are trusted with may be sent to `url`. source: the URL that led there, such as a redirect's."""
        return origin_of(url) in self._origins and not (source.startswith("https:") and not url.startswith("https:"))

    def refusal(self, what: str, url: str, source: str = "") -> tuple[str, str]:
        """Why `what` is not sent to `url`, with both origins, and what to do about it."""
        if source.startswith("https:") and not url.startswith("https:"):
            return (f"{what} would go in the clear from {shown_origin(source)} to {shown_origin(url)}, and is not sent",
                    "ask the site's owner; from https to http nothing private is sent")
        known = " or ".join(dict.fromkeys(map(shown_origin, self._urls)))
        return (f"{what} would go to {shown_origin(url) or 'no http(s) address'}, and not to {known}: it is not sent",
                f"if that is right, name it: {self._setting} = [\"{shown_origin(url)}\"]")
