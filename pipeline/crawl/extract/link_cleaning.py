"""Remove tracking parameters from links, and recognise ftp: links."""

from __future__ import annotations

import re

from pipeline.urls import MAX_LENGTH

_TRACKING = re.compile(r"utm_\w+|mtm_\w+|pk_(?:campaign|kwd|source|medium)|gclid|gbraid|wbraid|dclid|fbclid|msclkid"
                       r"|yclid|twclid|igshid|mc_[ce]id|_hsenc|_hsmi|vero_id|ref_src", re.IGNORECASE)
_FTP = re.compile(r"ftps?://[^\s#]+", re.IGNORECASE)


def ftp(link: str) -> str:
    """Return an ftp: or ftps: link unchanged; return "" for any other link.

    ftp: links are kept so that the download of such a link is reported as failed, with the reason.
    """
    return link.strip() if _FTP.fullmatch(link.strip()[:MAX_LENGTH]) else ""


def without_tracking(url: str, drop: frozenset[str] = frozenset()) -> str:
    """Return the URL without tracking parameters and without the parameters named in `drop`.

    Tracking parameters are removed from the query. The parameters in `drop` are removed from the query and from the path
    (`;jsessionid=…`). The other parameters keep their order.
    """
    head, mark, query = url.partition("?")
    if drop and ";" in head:
        head = _without_path_parameters(head, drop)
    if not mark:
        return head
    kept = [pair for pair in query.split("&")
            if (name := pair.partition("=")[0]) not in drop and not _TRACKING.fullmatch(name)]
    return f"{head}?{'&'.join(kept)}" if kept else head


def _without_path_parameters(head: str, drop: frozenset[str]) -> str:
    """Remove the path parameters named in `drop` from a URL without a query.

    A path parameter follows a segment of the path after a semicolon (RFC 3986, 3.3).
    """
    scheme, slashes, rest = head.partition("://")
    host, *segments = rest.split("/")
    kept = [";".join([name, *(each for each in parameters if each.partition("=")[0] not in drop)])
            for name, *parameters in (segment.split(";") for segment in segments)]
    return f"{scheme}{slashes}{'/'.join([host, *kept])}"
