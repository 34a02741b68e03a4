"""Reads <meta http-equiv=refresh> and the Refresh header (HTML Standard, 4.2.5.3 and 7.4.6)."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode

from pipeline.documents.document import Document

MAX_DELAY_S = 10
"""The maximum delay, in seconds, of a refresh that is followed. A longer delay means that users are meant to read the page."""

_TOP_BYTES = 16 * 1024
_EQUIV = re.compile(rb"-[Ee][Qq][Uu][Ii][Vv]")  # the pattern begins with a byte that is rare in pages, which makes the search fast
_HINT = re.compile(rb"<meta[^>]{0,2000}refresh", re.IGNORECASE)
_VALUE = re.compile(r"[\t\n\f\r ]*(?P<delay>\d+|(?=\.))[\d.]*(?:(?:[\t\n\f\r ]+[;,]?|[;,])[\t\n\f\r ]*(?P<rest>.*))?",
                    re.DOTALL)
_URL = re.compile(r"(?:url[\t\n\f\r ]*=[\t\n\f\r ]*)?(?:'(?P<single>[^']*)|\"(?P<double>[^\"]*)|(?P<bare>.*))",
                  re.IGNORECASE | re.DOTALL)


def may_refresh(body: bytes) -> bool:
    """Return whether a body may contain a meta refresh. This is a quick test for encodings that extend ASCII.

    Only the beginning of the body is searched, because pages that redirect have their meta refresh at the beginning.
    """
    return _EQUIV.search(body, 0, _TOP_BYTES) is not None and _HINT.search(body) is not None


def refresh_target(document: Document) -> str:
    """Return the http(s) URL, without fragment, to which a page refreshes within MAX_DELAY_S seconds.

    Return "" if the page has no such refresh. A refresh from https to http is ignored. A refresh inside <noscript> is ignored
    too, because it is meant for browsers without scripts.
    """
    header = document.headers.get("refresh", "")
    values = [header] if header else []
    if "equiv" in document.text.lower():
        values += [meta.attributes.get("content") or "" for meta in document.lexbor.css("meta[http-equiv='refresh' i]")
                   if not _in_noscript(meta)]
    return next((target for value in values if (target := _target(value, document))), "")


def _target(value: str, document: Document) -> str:
    match = _VALUE.fullmatch(value)
    if match is None or not match["rest"] or int(match["delay"] or 0) > MAX_DELAY_S:
        return ""
    found = _URL.match(match["rest"])
    link = next((part for part in found.groups() if part is not None), "") if found is not None else ""
    target = document.absolute(link)
    return "" if document.url.lower().startswith("https:") and target.startswith("http:") else target


def _in_noscript(node: LexborNode) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag == "noscript":
            return True
        parent = parent.parent
    return False
