"""DKIM signatures (RFC 6376; Ed25519: RFC 8463) of message files, computed in constant memory.

Headers are signed with relaxed canonicalization. The body is signed with simple canonicalization, because the body is sent byte for
byte as rendered, in 7-bit and with CRLF. No DKIM library is used, because a library that takes the message as bytes would hold a
20 MB attachment in memory three times.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import IO

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipeline.errors import MailError, UsageError
from pipeline.settings import Settings

SIGNED = ("from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
          "mime-version", "content-type", "content-transfer-encoding", "auto-submitted", "list-id", "list-unsubscribe",
          "list-unsubscribe-post")
"""The headers that are signed if the message contains them (RFC 6376, 5.4.1; RFC 8058, 4)."""
_CHUNK = 1 << 16
_HEAD_LIMIT = 1 << 20
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_SPACE = re.compile(rb"[ \t]+")
MIN_RSA_BITS = 1024


class Signer:
    """Signs messages with the DKIM key of one domain.

    key: private key in PEM format. Raises MailError for a key that cannot be used for signing.
    """

    def __init__(self, domain: str, selector: str, key: str) -> None:
        self._domain = domain
        self._selector = selector
        where = "settings.toml: mail.dkim.key"
        fix = "create a key with `openssl genrsa -out dkim.pem 2048`"
        try:
            found = load_pem_private_key(key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise MailError("the secret is not a private key in PEM format, or the key has a passphrase", where=where, fix=fix) from error
        self._algorithm, self._sign = _signing(found, where, fix)

    def header(self, message: IO[bytes], *, at: datetime) -> bytes:
        """Return the DKIM-Signature header of a message with CRLF line ends.

        message: the message file, which is read from its current position to its end. at: time of the signature.
        """
        head, body_hash = _read(message)
        fields = _fields(head)
        names = [name for name in SIGNED if name in fields]
        canonical = [_relaxed(name, fields[name]) for name in names]
        # "from" is listed twice, although there is one From header: adding another From header breaks the signature (RFC 6376, 8.15).
        signed = ":".join([*names, "from"])
        value = (f"v=1; a={self._algorithm}; c=relaxed/simple; d={self._domain}; s={self._selector};\r\n"
                 f"\tt={int(at.timestamp())}; h={_folded(signed)};\r\n"
                 f"\tbh={base64.b64encode(body_hash).decode()};\r\n\tb=")
        unsigned = _relaxed("dkim-signature", value.encode()).removesuffix(b"\r\n")
        signature = base64.b64encode(self._sign(b"".join(canonical) + unsigned)).decode()
        lines = "\r\n\t ".join(signature[start:start + 70] for start in range(0, len(signature), 70))
        return f"DKIM-Signature: {value}{lines}\r\n".encode("ascii")


def _signing(key: object, where: str, fix: str) -> tuple[str, Callable[[bytes], bytes]]:
    if isinstance(key, Ed25519PrivateKey):
        ed25519 = key
        return "ed25519-sha256", lambda data: ed25519.sign(hashlib.sha256(data).digest())  # RFC 8463, 3
    if isinstance(key, RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        rsa = key
        return "rsa-sha256", lambda data: rsa.sign(data, PKCS1v15(), SHA256())
    raise MailError(f"the key must be an Ed25519 key, or an RSA key of at least {MIN_RSA_BITS} bits", where=where, fix=fix)


def _read(message: IO[bytes]) -> tuple[bytes, bytes]:
    """Return the header of a message, and the SHA-256 of its body in simple canonicalization.

    Simple canonicalization ignores empty lines at the end of the body.
    """
    start = message.read(_HEAD_LIMIT)
    head, _, rest = start.partition(b"\r\n\r\n")
    digest = hashlib.sha256()
    held = b""  # line ends that are not hashed yet, because they are ignored if the body ends here
    while rest:
        text = (held + rest).rstrip(b"\r\n")
        held = (held + rest)[len(text):]
        digest.update(text)
        rest = message.read(_CHUNK)
    digest.update(b"\r\n")
    return head, digest.digest()


def _fields(head: bytes) -> dict[str, bytes]:
    """Return the raw value of each header, by the header's name.

    If a header occurs several times, only the last value is returned, because DKIM signs the last occurrence.
    """
    found: dict[str, bytes] = {}
    for line in re.split(rb"\r\n(?![ \t])", head):
        name, _, value = line.partition(b":")
        found[name.decode("ascii", "replace").strip().lower()] = value
    return found


def _relaxed(name: str, value: bytes) -> bytes:
    """Return one header in relaxed canonicalization (RFC 6376, 3.4.2)."""
    return name.encode() + b":" + _SPACE.sub(b" ", _FOLD.sub(b"", value)).strip() + b"\r\n"


def _folded(names: str) -> str:
    """Return the colon-separated header names in lines of at most 78 characters (RFC 5322, 2.1.1)."""
    lines = [""]
    for name in names.split(":"):
        if len(lines[-1]) + len(name) > 60:
            lines.append("")
        lines[-1] += f"{name}:"
    return "\r\n\t ".join(lines).removesuffix(":")


def signer_of(settings: Settings) -> Signer | None:
    """Return the signer that [mail.dkim] configures, or None if the settings have no [mail.dkim].

    Raises MailError if the key cannot be read or used.
    """
    table = settings.mail.dkim
    if table is None:
        return None
    try:
        key = table.key.reveal()
    except UsageError as error:
        raise MailError(error.what, where="settings.toml: mail.dkim.key", fix=error.fix) from error
    return Signer(table.domain, table.selector, key)
