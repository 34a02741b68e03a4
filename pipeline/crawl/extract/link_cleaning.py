"""Links that a crawl treats in its own way: tracking parameters left out, ftp: told why it is not fetched."""

from __future__ import annotations

import re

from pipeline.urls import MAX_LENGTH

_TRACKING = re.compile(r"utm_\w+|mtm_\w+|pk_(?:campaign|kwd|source|medium)|gclid|gbraid|wbraid|dclid|fbclid|msclkid"
                       r"|yclid|twclid|igshid|mc_[ce]id|_hsenc|_hsmi|vero_id|ref_src", re.IGNORECASE)
_FTP = re.compile(r"ftps?://[^\s#]+", re.IGNORECASE)


def ftp(link: str) -> str:
    """An ftp: or ftps: link as it stands, "" for any other: as a download it is told why it is not fetched."""
    return link.strip() if _FTP.fullmatch(link.strip()[:MAX_LENGTH]) else ""


def without_tracking(url: str, drop: frozenset[str] = frozenset()) -> str:
    """A URL without the parameters that only say where a visitor came from, and those that `drop` names: of the query,
    and of the path (`;jsessionid=…`). The rest stays in its order."""
    head, mark, query = url.partition("?")
    if drop and ";" in head:
        head = _without_path_parameters(head, drop)
    if not mark:
        return head
    kept = [pair for pair in query.split("&")
            if (name := pair.partition("=")[0]) not in drop and not _TRACKING.fullmatch(name)]
    return f"{head}?{'&'.join(kept)}" if kept else head


def _without_path_parameters(head: str, drop: frozenset[str]) -> str:
    """RFC 3986, 3.3: parameters of a path segment follow it, each after a semicolon."""
    scheme, slashes, rest = head.partition("://")
    host, *segments = rest.split("/")
    kept = [";".join([name, *(each for each in parameters if each.partition("=")[0] not in drop)])
            for name, *parameters in (segment.split(";") for segment in segments)]
    return f"{scheme}{slashes}{'/'.join([host, *kept])}"
