"""URLs of links: made absolute, without fragments and tracking parameters."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

_TRACKING = re.compile(r"utm_\w+|mtm_\w+|pk_(?:campaign|kwd|source|medium)|gclid|gbraid|wbraid|dclid|fbclid|msclkid"
                       r"|yclid|twclid|igshid|mc_[ce]id|_hsenc|_hsmi|vero_id|ref_src", re.IGNORECASE)
_PLAIN = re.compile(r"https?://[a-z0-9.-]+(?::(?:[1-5]?\d{1,4}|6[0-4]\d{3}))?/[^\s#]*")
_ROOTED = re.compile(r"/(?!/)[^\s#\\]*")
_FTP = re.compile(r"ftps?://[^\s#]+", re.IGNORECASE)
_BLANKS = re.compile(r"[\t\r\n]")
_MAX_LENGTH = 8000


def absolute(link: str, base: str) -> str:
    """A link made absolute, without its fragment; "" where it is no http(s) URL. (RFC 3986, section 5)"""
    # Nearly all links are of two plain kinds, and urljoin takes ten times as long as telling them.
    if "/." not in link and len(link) <= _MAX_LENGTH:
        if _PLAIN.fullmatch(link):
            return link
        if _ROOTED.fullmatch(link) and _PLAIN.match(base):
            return base[:base.index("/", 8)] + link
    link = _BLANKS.sub("", link.strip())  # as browsers do (URL Standard, 4.4)
    if len(link) > _MAX_LENGTH:
        return ""
    try:
        url = urljoin(base, link).partition("#")[0]
        if _PLAIN.fullmatch(url):
            return url
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    user, at, _ = parts.netloc.rpartition("@")
    host = parts.netloc.rpartition("@")[2].lower()
    return parts._replace(netloc=user + at + host, path=parts.path or "/", fragment="").geturl().replace(" ", "%20")


def ftp(link: str) -> str:
    """An ftp: or ftps: link as it stands, "" for any other: as a download it is told why it is not fetched."""
    return link.strip() if _FTP.fullmatch(link.strip()[:_MAX_LENGTH]) else ""


def without_tracking(url: str, drop: frozenset[str] = frozenset()) -> str:
    """A URL without the parameters that only say where a visitor came from, the rest in its order."""
    head, mark, query = url.partition("?")
    if not mark:
        return url
    kept = [pair for pair in query.split("&")
            if (name := pair.partition("=")[0]) not in drop and not _TRACKING.fullmatch(name)]
    return f"{head}?{'&'.join(kept)}" if kept else head
