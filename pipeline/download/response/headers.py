"""Read the headers of a response to a request for a file.

Validators, length, range, and content codings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from pipeline.content_coding import DecodingError, codings_of
from pipeline.errors import DownloadError
from pipeline.session.politeness.retry_after import http_date
from pipeline.text import shown_url

_RANGE = re.compile(r"\s*bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Validators:
    """The validators that identify a version of a file (RFC 9110, 8.8).

    etag: the value of the header ETag, including W/ and quotes. last_modified: the value of the header Last-Modified. "" means
    that the header is missing.
    """

    etag: str = ""
    last_modified: str = ""

    @property
    def for_range(self) -> str:
        """The value for the If-Range header: the ETag, or else Last-Modified, or else "".

        Only strong validators may be used for this header.
        """
        return self.etag or self.last_modified


@dataclass(frozen=True)
class ContentRange:
    """The Content-Range of a 206 response.

    first, last: the positions of the first and last byte. total: the size of the whole file; None means unknown.
    """

    first: int
    last: int
    total: int | None


def validators(headers: Mapping[str, str]) -> Validators:
    """Return the validators in response headers, weak or strong, for use in a conditional request."""
    etag = headers.get("ETag", "").strip()
    return Validators(etag if _etag(etag) else "", headers.get("Last-Modified", "").strip()[:100])


def strong_validators(headers: Mapping[str, str]) -> Validators:
    """Return those validators in response headers that are strong (RFC 9110, 8.8).

    An ETag is strong if it does not begin with W/; Last-Modified is strong if it is at least one second before Date.
    """
    found = validators(headers)
    modified, sent = http_date(found.last_modified), http_date(headers.get("Date", ""))
    date_is_strong = modified is not None and sent is not None and (sent - modified).total_seconds() >= 1
    return Validators(found.etag if not found.etag.startswith("W/") else "",
                      found.last_modified if date_is_strong else "")


def _etag(value: str) -> bool:
    return re.fullmatch(r'(W/)?"[\x21\x23-\x7e\x80-\xff]{0,500}"', value) is not None


def same_version(ours: Validators, theirs: Validators) -> bool:
    """Return whether a validator that two responses have in common shows that their files are the same version.

    Return False if they have no validator in common.
    """
    if ours.etag and theirs.etag:
        return ours.etag.removeprefix("W/") == theirs.etag.removeprefix("W/")
    return bool(ours.last_modified) and ours.last_modified == theirs.last_modified


def length_of(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length; None if the header is missing or invalid, or if a Transfer-Encoding overrides it."""
    if "Transfer-Encoding" in headers:
        return None
    value = headers.get("Content-Length", "").strip()
    return int(value) if re.fullmatch(r"\d{1,18}", value) else None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Return the Content-Range; None if it is missing or invalid."""
    match = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        return None
    return ContentRange(first, last, total)


def codings(response: requests.Response) -> tuple[str, ...]:
    """Return the content codings of the body, in the order in which the server applied them.

    The request for a file asks for no codings, but some servers apply codings anyway. Values that are not codings, such as
    "utf-8", are ignored. Raise DownloadError for a coding that cannot be decoded.
    """
    try:
        return codings_of(response.headers.get("Content-Encoding", "").split(","))
    except DecodingError as error:
        raise DownloadError(f"{error}, although the request did not allow a coding", where=shown_url(response.url)) from error


def must_decode(response: requests.Response) -> bool:
    """Return whether the body must be decoded.

    If the file is a gzip archive, the header `Content-Encoding: gzip` is wrong and the body must not be decoded.
    """
    found = codings(response)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    archive = kind in ("application/gzip", "application/x-gzip", "application/x-tgz", "application/x-compressed-tar") \
        or urlsplit(response.url).path.lower().endswith((".gz", ".tgz"))
    return bool(found) and not (archive and len(found) == 1 and found[0].endswith("gzip"))
