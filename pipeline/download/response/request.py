"""Send the GET request for a file. For an error status, raise an error that says whether to retry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import requests
from urllib3.exceptions import HTTPError

from pipeline.download.limits import DownloadLimits
from pipeline.errors import DownloadError, PipelineError
from pipeline.model import QueuedDownload
from pipeline.session.politeness.retry_after import TRY_LATER, retry_after_s
from pipeline.session.trusted_origins import referer_for
from pipeline.text import clean_line, shown_url

Translate = Callable[[requests.RequestException, str, str | None], PipelineError]
"""A function such as pipeline.session.errors.translate: converts an exception to an error that says whether to retry.

The arguments are the exception, the URL and the proxy.
"""

_TRANSIENT = frozenset({408, 421, 423, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 525, 530})
_RETRY_AFTER_MAX_S = 24 * 3600.0
_FIXES = {401: "the site requires a login: add a login to the spider", 403: "the site requires a login, or blocks this client",
          407: "set the proxy's user and password in [proxies]"}
_ANSWERED = "the server answered"
_REFUSED = re.compile(rf": {_ANSWERED} (401|403)\b")  # in an error message, this text follows the URL, which contains no spaces
_OURS = frozenset({"range", "if-range", "if-none-match", "if-modified-since", "accept-encoding", "host",
                   "content-length", "transfer-encoding", "connection"})


class TryLaterError(DownloadError):
    """The server asks the client to wait before the next request.

    after_s: the number of seconds to wait; 0 means that the server did not name a time.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "", retry: bool = True, after_s: float = 0.0) -> None:
        super().__init__(what, where=where, fix=fix, retry=retry)
        self.after_s = after_s


def request_file(client: requests.Session, wanted: QueuedDownload, extra: Mapping[str, str], *, limits: DownloadLimits,
        translate: Translate) -> requests.Response:
    """Send a GET request, and return the response with its body unread.

    Only http(s) redirects are followed. extra: further request headers. Raise PipelineError for all error statuses except 304 and
    416.
    """
    scheme = wanted.url.partition(":")[0].strip().lower() if ":" in wanted.url else ""
    if scheme not in ("http", "https"):
        fix = "only http and https URLs are fetched" if not scheme.startswith("ftp") else \
            "FTP cannot resume a partial download safely; use https if the site offers the file that way"
        raise DownloadError(f"URLs with the scheme {clean_line(scheme, 20)} are not fetched" if scheme else "the URL is not valid",
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
    except UnicodeError as error:  # an invalid host name, or a header that cannot be encoded
        raise DownloadError("the file cannot be requested: the URL or a header is not valid",
                            where=shown_url(wanted.url)) from error
    if response.status_code in (200, 203, 206, 304, 416):
        return response
    response.close()
    raise _status_error(response, wanted.url)


def _status_error(response: requests.Response, url: str) -> DownloadError:
    status = response.status_code
    reason = clean_line(response.reason or "", 60)
    what = f"{_ANSWERED} {status} {reason}".rstrip()
    where = shown_url(url)
    if status in TRY_LATER:
        after_s = retry_after_s(response.headers, datetime.now(UTC)) or 0.0
        return TryLaterError(what, where=where, after_s=min(after_s, _RETRY_AFTER_MAX_S))
    return DownloadError(what, where=where, fix=_FIXES.get(status, ""), retry=status in _TRANSIENT or status == 202)


def refused_status(error: str) -> int:
    """If the recorded error of a file says that the server sent status 401 or 403, return the status; otherwise 0."""
    found = _REFUSED.search(error)
    return int(found[1]) if found else 0
