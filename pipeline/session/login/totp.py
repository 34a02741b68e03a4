"""Computes one-time codes from a shared secret (TOTP, RFC 6238), as authenticator apps do."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs, urlsplit

import pyotp

from pipeline.errors import UsageError

_HASHES = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256, "SHA512": hashlib.sha512}


class _Totp(pyotp.TOTP):
    min_secret_length_bits = 8  # sites choose the secret, and many choose 80 bits, which pyotp would not accept


def totp_code(secret: str, now_s: float) -> str:
    """Return the one-time code at the time `now_s` (seconds since 1970).

    secret: the Base32 text or the otpauth:// URI that the site shows. Raises UsageError for any other text.
    """
    parameters = {"secret": secret, "digits": "6", "period": "30", "algorithm": "SHA1"}
    uri = urlsplit(secret.strip())
    # pyotp.parse_uri is not used, because it rejects secrets of less than 112 bits.
    if uri.scheme.lower() == "otpauth":
        if uri.netloc.lower() != "totp":
            raise UsageError("the otpauth:// URI is not for time-based codes (totp)", where="login.totp",
                             fix="use an otpauth://totp/ URI; counter-based codes (hotp) are not supported")
        parameters |= {name.lower(): values[0] for name, values in parse_qs(uri.query).items()}
    try:
        totp = _Totp("".join(parameters["secret"].split()).replace("-", "").rstrip("="), digits=int(parameters["digits"]),
                     digest=_HASHES[parameters["algorithm"].upper()], interval=int(parameters["period"]))
        return totp.at(now_s)
    except (ValueError, KeyError, ZeroDivisionError) as error:
        raise UsageError("not a valid secret for one-time codes", where="login.totp",
                         fix="use the Base32 letters that the site shows, or the otpauth:// URI") from error
