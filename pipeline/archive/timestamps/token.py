"""Gets a timestamp token for a file's SHA-256 and verifies it, before anything of it is stored."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.archive.timestamps.der import sorted_certificates, timestamp_request
from pipeline.archive.timestamps.server import ask
from pipeline.errors import FetchError, UsageError
from pipeline.text import clean_line, shown_url

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

_NONCE_BITS = 63
_SHA256_OID = "2.16.840.1.101.3.4.2.1"
_AUTHORITY_FIX = "set [archive] timestamp_ca to a file with the certificate of the server's authority"
EXTRA_FIX = "run `pip install 'crawl-to-inbox[archive]'`"


@dataclass(frozen=True)
class Timestamp:
    """A verified answer of a timestamp server. content: the TimeStampResp (DER) as the server sent it. at: the time that it states."""

    content: bytes
    at: datetime


def get_timestamp(url: str, sha256: str, *, authorities: Path | None = None, not_before: datetime | None = None,
                  send: Callable[[str, bytes], bytes] = ask) -> Timestamp:
    """Ask a timestamp server for a token for a SHA-256 (hexadecimal), verify the answer, and return it.

    authorities: a PEM file with the root certificates that are trusted; None means those of the package certifi.
    not_before: a time before which the file did not exist; a token of an earlier time is refused.
    Raises FetchError, and UsageError if the extra archive is missing or `authorities` cannot be read.
    """
    nonce = secrets.randbits(_NONCE_BITS)
    answer = send(url, timestamp_request(bytes.fromhex(sha256), nonce))
    return Timestamp(answer, verify(answer, sha256, nonce=nonce, authorities=authorities, not_before=not_before, where=shown_url(url)))


def verify(answer: bytes, sha256: str, *, nonce: int | None = None, authorities: Path | None = None, not_before: datetime | None = None,
           where: str = "") -> datetime:
    """Return the time that a TimeStampResp states for a SHA-256. Raises FetchError if the answer proves nothing, UsageError.

    The signature is verified with the certificates as they were at that time, so that a token stays valid when they expire.
    """
    roots = _roots(authorities)
    try:
        import rfc3161_client as rfc3161  # noqa: PLC0415  an optional package, and only timestamps need it
    except ImportError as error:
        raise UsageError("timestamps need the extra archive", where="archive.timestamp_url", fix=EXTRA_FIX) from error
    try:
        response = rfc3161.decode_timestamp_response(sorted_certificates(answer))
        if response.status != rfc3161.PKIStatus.GRANTED:
            raise FetchError(f"the timestamp server refused the request: {_said(response)}", where=where, retry=True)
        if response.tst_info.message_imprint.hash_algorithm.dotted_string != _SHA256_OID:
            raise FetchError("the token of the timestamp server is for another hash algorithm than SHA-256", where=where, retry=True)
        rfc3161.VerifierBuilder(roots=roots, nonce=nonce).build().verify(response, bytes.fromhex(sha256))
        at = response.tst_info.gen_time
    except rfc3161.VerificationError as error:
        raise _refused(str(error), where) from error
    except ValueError as error:  # not DER, or a part is missing
        raise FetchError("the timestamp server did not send a timestamp", where=where, fix="check [archive] timestamp_url", retry=True) from error
    if not_before is not None and at < not_before:
        raise FetchError(f"the timestamp server states a time before the file was made ({at:%Y-%m-%d %H:%M:%S} UTC)", where=where, retry=True)
    return at


_REASONS = {
    "self-signed certificate": ("the authority that issued the certificate of the timestamp server is not trusted", _AUTHORITY_FIX),
    "unable to get local issuer": ("the authority that issued the certificate of the timestamp server is not trusted", _AUTHORITY_FIX),
    "unable to get issuer": ("the authority that issued the certificate of the timestamp server is not trusted", _AUTHORITY_FIX),
    "certificate has expired": ("the certificate of the timestamp server has expired", "use another timestamp server"),
    "not yet valid": ("the certificate of the timestamp server is not valid yet", "use another timestamp server"),
    "Nonce mismatch": ("the token of the timestamp server is for another request (its nonce differs)", ""),
    "Mismatch between messages": ("the token of the timestamp server is for another file", ""),
    "EKU": ("the certificate of the timestamp server is not for timestamps", "use another timestamp server"),
    "unsuitable": ("the certificate of the timestamp server is not for timestamps", "use another timestamp server"),
}
"""What rfc3161-client and OpenSSL say of tokens that prove nothing, and what it means."""


def _refused(said: str, where: str) -> FetchError:
    what, fix = next((found for part, found in _REASONS.items() if part in said), ("", ""))
    return FetchError(what or f"the signature of the timestamp server is not valid: {clean_line(said, 200)}", where=where, fix=fix, retry=True)


def _said(response: TimeStampResponse) -> str:
    return clean_line(" ".join(response.status_string), 200) or f"status {response.status}"


def _roots(authorities: Path | None) -> list[Certificate]:
    """Return the trusted root certificates. Raises UsageError."""
    import certifi  # noqa: PLC0415
    from cryptography import x509  # noqa: PLC0415
    from cryptography.utils import CryptographyDeprecationWarning  # noqa: PLC0415
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # some public roots have the serial number 0
            return x509.load_pem_x509_certificates((authorities or Path(certifi.where())).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"the certificates cannot be read: {getattr(error, 'strerror', None) or error}", where=str(authorities),
                         fix="set [archive] timestamp_ca to a PEM file") from error
