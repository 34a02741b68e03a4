"""Write messages that differ only in their recipient: the content is encoded once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import BinaryIO

from pipeline.mail.message import compose
from pipeline.mail.message.dkim import Signer
from pipeline.settings.fields.addresses import bare_address

_RECIPIENT_HEADER = re.compile(rb"^(To|Message-ID|List-Unsubscribe): [^\r]*\r\n(?:[ \t][^\r]*\r\n)*", re.MULTILINE)


class Copies:
    """Writes messages with the same content to one recipient each.

    content: the content, in which `mark` stands for a text that differs for each recipient. signer: signs the messages with DKIM.
    """

    def __init__(self, content: compose.Content, mark: str, signer: Signer | None) -> None:
        self._content = content
        self._mark = mark
        self._encoded_mark = re.compile(b"(?:=\r\n)?".join(re.escape(letter).encode() for letter in mark))
        self._signer = signer
        self._pieces: list[compose.Piece] = []
        self._is_replaceable = False

    def write(self, file: BinaryIO, envelope: compose.Envelope, text: str) -> None:
        """Write the message to the only recipient of an envelope, with `text` in place of the mark.

        text: ASCII that needs no escaping in HTML. Raises MailError for an address that is not valid in a header, OSError.
        """
        compose.write_pieces(file, self._copied(envelope, text) if self._can_copy(envelope, text) else self._composed(envelope, text),
                             signer=self._signer, at=envelope.date)

    def _composed(self, envelope: compose.Envelope, text: str) -> list[compose.Piece]:
        content = replace(self._content, text=self._content.text.replace(self._mark, text), html=self._content.html.replace(self._mark, text))
        return list(compose.pieces(envelope, content))

    def _copied(self, envelope: compose.Envelope, text: str) -> list[compose.Piece]:
        def in_place(found: re.Match[bytes]) -> bytes:
            """Return the text, with a soft line break (RFC 2045, 6.7) where the mark has one."""
            before, line_end, _ = found[0].partition(b"=\r\n")
            return text[:len(before)].encode() + line_end + text[len(before):].encode()

        own = compose.recipient_headers(envelope)
        first, *others = [self._encoded_mark.sub(in_place, piece) if isinstance(piece, bytes) else piece for piece in self._pieces]
        assert isinstance(first, bytes)
        head, end, body = first.partition(b"\r\n\r\n")
        return [_RECIPIENT_HEADER.sub(lambda found: own[found[1].decode()], head + b"\r\n") + end[2:] + body, *others]

    def _can_copy(self, envelope: compose.Envelope, text: str) -> bool:
        """Return whether the encoded content can be used for this recipient.

        An address that is not ASCII changes all headers (RFC 6532). A text longer than the mark could make a line too long (RFC 2045, 6.7).
        Base64 hides the mark.
        """
        if len(text) > len(self._mark) or not all(bare_address(address).isascii() for address in envelope.to):
            return False
        if not self._pieces:
            self._pieces = list(compose.pieces(envelope, self._content))
            encoded = sum(len(self._encoded_mark.findall(piece)) for piece in self._pieces if isinstance(piece, bytes))
            self._is_replaceable = encoded == (self._content.text + self._content.html).count(self._mark)
        return self._is_replaceable
