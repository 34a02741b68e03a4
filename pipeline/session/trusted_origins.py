"""The origins that may receive a spider's secrets: passwords, tokens, request bodies and headers.

An origin is a scheme, a host and a port (RFC 6454, 4). A secret for one origin is never sent to another origin, not even after a
redirect, unless the settings name the other origin. After a redirect from https to http, no secret is sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.hosts import PORTS, host_and_port
from pipeline.urls import bare

Origin = tuple[str, str, int]
"""Scheme, host and port of a URL."""


def origin_of(url: str) -> Origin:
    return url.partition(":")[0].lower(), *host_and_port(url)


def shown_origin(url: str) -> str:
    """Return the origin of a URL as a browser displays it; "" if the URL is not http(s)."""
    scheme, host, port = origin_of(url)
    if not host:
        return ""
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == PORTS.get(scheme) else f"{scheme}://{name}:{port}"


def referer_for(source: str, target: str) -> str:
    """Return the Referer header for a request from the page `source` to the URL `target`; "" for no header.

    The policy is strict-origin-when-cross-origin, the default of browsers (Referrer Policy, 3.8): the whole URL for the same
    origin, only the origin of the page for another origin, and nothing from https to http.
    """
    if not source.startswith(("http://", "https://")):
        return ""
    if origin_of(source) == origin_of(target):
        return bare(source)
    if source.startswith("https:") and not target.startswith("https:"):
        return ""
    return f"{shown_origin(source)}/" if shown_origin(source) else ""


class TrustedOrigins:
    """The origins that may receive a secret.

    urls: URLs whose origins are trusted; setting: the name of the setting that adds more origins. If an http origin with the
    default port is trusted, the https origin of the same host is trusted too, because many sites redirect from http to https.
    """

    def __init__(self, urls: Iterable[str], setting: str) -> None:
        self._urls = tuple(urls)
        self._origins = {origin_of(url) for url in self._urls}
        self._origins |= {("https", host, PORTS["https"]) for scheme, host, port in self._origins
                          if scheme == "http" and port == PORTS["http"]}
        self._setting = setting

    def trust(self, url: str, source: str = "") -> bool:
        """Return whether the secret may be sent to `url`. source: the URL that redirected or linked to `url`, if any."""
        return origin_of(url) in self._origins and not (source.startswith("https:") and not url.startswith("https:"))

    def refusal(self, what: str, url: str, source: str = "") -> tuple[str, str]:
        """Return the error message that the secret `what` is not sent to `url`, and how to allow it in the settings."""
        if source.startswith("https:") and not url.startswith("https:"):
            return (f"refused to send {what} unencrypted from {shown_origin(source)} to {shown_origin(url)}",
                    "ask the owner of the site; secrets are never sent from https to http")
        known = " or ".join(dict.fromkeys(map(shown_origin, self._urls)))
        return (f"refused to send {what} to {shown_origin(url) or 'an address that is not http(s)'} instead of {known}",
                f"if this is intended, set {self._setting} = [\"{shown_origin(url)}\"]")
