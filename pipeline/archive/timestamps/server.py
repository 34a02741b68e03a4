"""Asks a timestamp server for a token over HTTP (RFC 3161, section 3.4)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pipeline.errors import FetchError
from pipeline.text import clean_line, shown_url

if TYPE_CHECKING:
    import requests

TIMEOUT_S = 10.0
"""How long to wait for a connection, and for each part of the answer."""
LIMIT_S = 30.0
"""How long the whole request may take."""
MAX_BYTES = 100_000
"""Maximum size of an answer. A token with all certificates of its chain has less than 10,000 bytes."""
_CHECK = "check [archive] timestamp_url"


def ask(url: str, request: bytes, *, limit_s: float = LIMIT_S) -> bytes:
    """Send a request and return the body of the answer. Raises FetchError, which another attempt may avoid.

    No credentials are sent, and no redirect is followed. A URL with http is allowed, because the token is signed.
    """
    found: list[bytes | FetchError] = []

    def perform() -> None:
        try:
            found.append(_ask(url, request))
        except FetchError as error:
            found.append(error)

    # A server may send its head so slowly that no timeout of a single read ends the request.
    thread = threading.Thread(target=perform, name="timestamp", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not found:
        raise FetchError(f"the timestamp server did not answer within {limit_s:.0f} s", where=shown_url(url), retry=True)
    if isinstance(found[0], FetchError):
        raise found[0]
    return found[0]


def _ask(url: str, request: bytes) -> bytes:
    import requests  # noqa: PLC0415  # importing requests takes a tenth of a second
    from urllib3.exceptions import HTTPError  # noqa: PLC0415
    where = shown_url(url)
    try:
        with requests.post(url, data=request, timeout=TIMEOUT_S, allow_redirects=False, stream=True, auth=_no_credentials, headers={
                "Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply", "Accept-Encoding": "identity"}) as answer:
            if answer.status_code != 200:
                raise FetchError(f"the timestamp server responded with HTTP status {answer.status_code}", where=where, fix=_CHECK, retry=True)
            body = bytearray()
            while chunk := answer.raw.read1(65_536):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise FetchError(f"the timestamp server sent more than {MAX_BYTES} bytes", where=where, fix=_CHECK, retry=True)
    except (requests.RequestException, HTTPError, OSError) as error:
        raise FetchError(f"the timestamp server could not be reached ({clean_line(type(error).__name__)})", where=where, fix=_CHECK, retry=True) from error
    return bytes(body)


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from sending the credentials of a .netrc file, or of the URL."""
    return request
