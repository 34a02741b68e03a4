"""Encode attachments as Base64 or quoted-printable (RFC 2045), one chunk at a time."""

from __future__ import annotations

import base64
import binascii
from typing import IO, Literal

from pipeline.mail.message.attachments import Attachment

_LINE = 57  # number of bytes that become one line of 76 base64 characters
_CHUNK = _LINE * 1024


def encoding_of(attachment: Attachment) -> Literal["quoted-printable", "base64"]:
    """Return the Content-Transfer-Encoding of an attachment.

    A text file that this program wrote is encoded as quoted-printable if it is shorter so. The spam filter rspamd adds 0.1 points to a mail with
    text in base64.
    """
    if not attachment.ours or not attachment.content_type.startswith("text/"):
        return "base64"
    with attachment.path.open("rb") as source:
        start = source.read(_CHUNK)
    return "quoted-printable" if sum(byte > 126 for byte in start) * 10 < len(start) else "base64"


def write_attachment(file: IO[bytes], attachment: Attachment) -> None:
    """Write the encoded content of an attachment to a message file."""
    (_write_base64 if encoding_of(attachment) == "base64" else _write_quoted)(file, attachment)


def _write_base64(file: IO[bytes], attachment: Attachment) -> None:
    with attachment.path.open("rb") as source:
        first = True
        while chunk := source.read(_CHUNK):
            lines = base64.b64encode(chunk)
            if not first:
                file.write(b"\r\n")
            first = False
            file.write(b"\r\n".join(lines[at:at + 76] for at in range(0, len(lines), 76)))


def _write_quoted(file: IO[bytes], attachment: Attachment) -> None:
    """Write an attachment as quoted-printable (RFC 2045, 6.7).

    A CRLF remains a line end. A CR or LF that is not part of a CRLF is encoded.
    """
    with attachment.path.open("rb") as source:
        for line in source:
            whole = line.endswith(b"\r\n")
            quoted = binascii.b2a_qp(line[:-2] if whole else line, istext=False)
            file.write(quoted.replace(b"=\n", b"=\r\n") + (b"\r\n" if whole else b"=\r\n"))
