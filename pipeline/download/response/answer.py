"""Asking for a file, and what the answer means: whole, the rest of it, unchanged, or of no use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from pipeline.download.limits import Limits
from pipeline.errors import DownloadError, PipelineError
from pipeline.model import QueuedDownload
from pipeline.session.politeness.retry_after import TRY_LATER, http_date, retry_after_s
from pipeline.session.responses.content_coding import codings_of
from pipeline.session.responses.errors import DecodingError
from pipeline.session.trusted_origins import referer_for
from pipeline.text import clean_line, shown_url

Translate = Callable[[requests.RequestException, str, str | None], PipelineError]
"""pipeline.session.errors.translate, or one like it: (error, url, proxy) to an error with `retry` set."""

_TRANSIENT = frozenset({408, 421, 423, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 525, 530})
_RETRY_AFTER_MAX_S = 24 * 3600.0
_FIXES = {401: "the site wants a login: add one to the spider", 403: "the site wants a login, or does not want us",
          407: "give the proxy's user and password in [proxies]"}
_ANSWERED = "the server answered"
_REFUSED = re.compile(rf": {_ANSWERED} (401|403)\b")  # after the URL, which has no blanks
_RANGE = re.compile(r"\s*bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\s*", re.IGNORECASE)
_OURS = frozenset({"range", "if-range", "if-none-match", "if-modified-since", "accept-encoding", "host",
                   "content-length", "transfer-encoding", "connection"})


class TryLaterError(DownloadError):
    """The server wants no more requests for now. after_s: when it wants them again, in seconds from now; 0: it did not say."""

    def __init__(self, what: str, *, where: str = "", fix: str = "", retry: bool = True, after_s: float = 0.0) -> None:
        super().__init__(what, where=where, fix=fix, retry=retry)
        self.after_s = after_s


@dataclass(frozen=True)
class Validators:
    """What names a version of a file (RFC 9110, 8.8). etag with its W/ and quotes, last_modified as sent."""

    etag: str = ""
    last_modified: str = ""

    @property
    def for_range(self) -> str:
        """The one that If-Range may use: a strong ETag, or a date kept for being strong; "" when none is."""
        return self.etag or self.last_modified


@dataclass(frozen=True)
class Span:
    """A 206's Content-Range: first and last byte, and the whole file's length where it is known."""

    first: int
    last: int
    total: int | None


def ask(client: requests.Session, wanted: QueuedDownload, extra: Mapping[str, str], *, limits: Limits,
        translate: Translate) -> requests.Response:
    """GET with an open body, redirects followed to http and https only. Raises PipelineError.

    Of the error statuses only 304 and 416 come back as answers.
    """
    scheme = wanted.url.partition(":")[0].strip().lower() if ":" in wanted.url else ""
    if scheme not in ("http", "https"):
        fix = "only http and https are" if not scheme.startswith("ftp") else \
            "FTP cannot go on with a part safely; see whether the site offers the file over https, too"
        raise DownloadError(f"{clean_line(scheme, 20)}: URLs are not fetched" if scheme else "is no URL",
                            where=shown_url(wanted.url), fix=fix)
    headers: dict[str, str | None] = {name: value for name, value in wanted.headers if name.lower() not in _OURS}
    if referer := referer_for(wanted.referer, wanted.url):
        headers["Referer"] = referer
    headers |= {"Accept-Encoding": "identity", **extra}
    proxy = client.proxies.get(scheme)
    try:
        response = client.get(wanted.url, headers=headers, stream=True, timeout=(limits.connect_s, limits.stall_s))
    except requests.RequestException as error:
        raise translate(error, wanted.url, proxy) from error
    except (HTTPError, OSError) as error:
        raise translate(requests.exceptions.ConnectionError(error), wanted.url, proxy) from error
    except UnicodeError as error:  # a host name that is none, a header that cannot be sent
        raise DownloadError("cannot be asked for: its address or a header is not valid",
                            where=shown_url(wanted.url)) from error
    if response.status_code in (200, 203, 206, 304, 416):
        return response
    response.close()
    raise _refusal(response, wanted.url)


def _refusal(response: requests.Response, url: str) -> DownloadError:
    status = response.status_code
    reason = clean_line(response.reason or "", 60)
    what = f"{_ANSWERED} {status} {reason}".rstrip()
    where = shown_url(url)
    if status in TRY_LATER:
        after_s = retry_after_s(response.headers, datetime.now(UTC)) or 0.0
        return TryLaterError(what, where=where, after_s=min(after_s, _RETRY_AFTER_MAX_S))
    return DownloadError(what, where=where, fix=_FIXES.get(status, ""), retry=status in _TRANSIENT or status == 202)


def refused_status(error: str) -> int:
    """401 or 403 where such an answer is what a file failed for, else 0."""
    found = _REFUSED.search(error)
    return int(found[1]) if found else 0


def validators(headers: Mapping[str, str]) -> Validators:
    """As the server sent them, weak or strong: good for asking whether a file changed."""
    etag = headers.get("ETag", "").strip()
    return Validators(etag if _etag(etag) else "", headers.get("Last-Modified", "").strip()[:100])


def strong_validators(headers: Mapping[str, str]) -> Validators:
    """Only those that name bytes: an ETag without W/, a date at least a second before Date (RFC 9110, 8.8.2.2)."""
    found = validators(headers)
    modified, sent = http_date(found.last_modified), http_date(headers.get("Date", ""))
    date_is_strong = modified is not None and sent is not None and (sent - modified).total_seconds() >= 1
    return Validators(found.etag if not found.etag.startswith("W/") else "",
                      found.last_modified if date_is_strong else "")


def _etag(value: str) -> bool:
    return re.fullmatch(r'(W/)?"[\x21\x23-\x7e\x80-\xff]{0,500}"', value) is not None


def same_version(ours: Validators, theirs: Validators) -> bool:
    """Whether two answers speak of the same version, by what both of them say; False when they share nothing."""
    if ours.etag and theirs.etag:
        return ours.etag.removeprefix("W/") == theirs.etag.removeprefix("W/")
    return bool(ours.last_modified) and ours.last_modified == theirs.last_modified


def length_of(headers: Mapping[str, str]) -> int | None:
    """Content-Length, None when there is none to rely on."""
    if "Transfer-Encoding" in headers:
        return None
    value = headers.get("Content-Length", "").strip()
    return int(value) if re.fullmatch(r"\d{1,18}", value) else None


def span_of(headers: Mapping[str, str]) -> Span | None:
    """Content-Range of a single range; None when it makes no sense."""
    match = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        return None
    return Span(first, last, total)


def codings(response: requests.Response) -> tuple[str, ...]:
    """In what the body comes packed although we asked for it as it is, in the order of packing.

    A body with an encoding that is none, such as "utf-8", is not packed. Raises DownloadError for one that nothing here
    unpacks.
    """
    try:
        return codings_of(response.headers.get("Content-Encoding", "").split(","))
    except DecodingError as error:
        raise DownloadError(f"{error}, although it was asked for as it is", where=shown_url(response.url)) from error


def packed(response: requests.Response) -> bool:
    """Whether the body has to be unpacked. An archive that a server also calls `Content-Encoding: gzip` is the file itself:
    it stays as it is."""
    found = codings(response)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    archive = kind in ("application/gzip", "application/x-gzip", "application/x-tgz", "application/x-compressed-tar") \
        or urlsplit(response.url).path.lower().endswith((".gz", ".tgz"))
    return bool(found) and not (archive and len(found) == 1 and found[0].endswith("gzip"))
