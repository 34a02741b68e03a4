"""One-time codes from a shared secret: RFC 6238, as authenticator apps make them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

from pipeline.errors import UsageError

_HASHES = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256, "SHA512": hashlib.sha512}


def totp_code(secret: str, now_s: float) -> str:
    """The code at `now_s` (seconds since 1970). secret: Base32 as sites show it, or an otpauth:// URI.

    Raises UsageError when it is neither.
    """
    parameters = {"secret": secret, "digits": "6", "period": "30", "algorithm": "SHA1"}
    if secret.strip().lower().startswith("otpauth://"):
        given = parse_qs(urlsplit(secret.strip()).query)
        parameters |= {name.lower(): values[0] for name, values in given.items()}
    text = "".join(parameters["secret"].split()).replace("-", "").upper().rstrip("=")
    try:
        key = base64.b32decode(text + "=" * (-len(text) % 8))
        digits, period_s = int(parameters["digits"]), int(parameters["period"])
        algorithm = _HASHES[parameters["algorithm"].upper()]
    except (binascii.Error, ValueError, KeyError) as error:
        raise _unusable() from error
    if not key or not 6 <= digits <= 10 or period_s < 1:
        raise _unusable()
    counter = int(now_s // period_s).to_bytes(8, "big")
    digest = hmac.new(key, counter, algorithm).digest()
    offset = digest[-1] & 0x0F  # RFC 4226, 5.3: dynamic truncation
    number = int.from_bytes(digest[offset:offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def _unusable() -> UsageError:
    return UsageError("is no secret of one-time codes", where="login.totp",
                      fix="give the Base32 letters the site shows, or its otpauth:// address")
