"""Deliver mail by SMTP, with verified TLS, several messages per connection and streamed bodies.

The yagmail library connects and logs in. The mail transaction (RFC 5321, section 3.3) is implemented here, because whether a message
must be sent again depends on the reply for each recipient, and on the step at which the connection broke.
"""

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline.errors import MailError, UsageError
from pipeline.mail.transports.base import ADDRESS
from pipeline.mail.transports.errors import explain, reason, reply_line, reply_text
from pipeline.mail.transports.masked import MaskedTransport, masked_stream
from pipeline.mail.transports.smtp_server import NO_CREDENTIALS, SmtpCredentials, SmtpServer, credentials_of, server_of
from pipeline.model import Message, RecipientResult
from pipeline.settings import Settings
from pipeline.settings.masking import CurrentMask
from pipeline.text import size_for_people

if TYPE_CHECKING:
    from pipeline.mail.transports.yagmail_connection import YagmailConnection

FINAL_REPLY_S = 600.0
"""How long to wait for the server's reply after the whole message was sent, in seconds. A client that waits less may send messages
twice (RFC 5321, 4.5.3.2.6)."""
_CHUNK = 1 << 16
_LINE_END = re.compile(rb"\r\n|\r|\n")


def open_smtp(settings: Settings, data_dir: Path, *, dialogue: TextIO | None) -> MaskedTransport:
    """Return the transport for the SMTP server that [mail] configures. It masks the access tokens that it obtains."""
    mail = settings.mail
    host, port, security = server_of(mail)
    mask = CurrentMask()
    return MaskedTransport(SmtpTransport(
        host, port, security=security, credentials=credentials_of(mail, mask.add), timeout_s=mail.timeout,
        ca_file=str(settings.folder / mail.ca_file) if mail.ca_file else None,
        dialogue=masked_stream(dialogue, mask) if dialogue is not None else None), lambda: mask)


class SmtpTransport:
    """Delivers messages to one SMTP server; the connection for the first message is kept open.

    security: "tls", "starttls" or "none". ca_file: PEM file with certificates that are trusted in addition to those of the system.
    timeout_s: time limit for connecting and for each reply. dialogue: stream to which the SMTP dialogue is written, with secrets
    masked; None means that the dialogue is not written. final_reply_s: time limit for the reply to the whole message; timeout_s
    applies instead if it is longer.
    """

    def __init__(self, host: str, port: int, *, security: str, credentials: SmtpCredentials = NO_CREDENTIALS,
                 ca_file: str | None = None, timeout_s: float = 60.0, dialogue: TextIO | None = None) -> None:
        self._server = SmtpServer(host, port, security, ca_file, timeout_s)
        self._credentials = credentials
        self._dialogue = dialogue
        self.final_reply_s = FINAL_REPLY_S
        self._connection: YagmailConnection | None = None

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        size_bytes, utf8 = _measure(file, message)
        smtp = self._ready()
        with self._errors_translated("sending"):
            unsupported = _unsupported(smtp, message, size_bytes, utf8=utf8)
            if unsupported is not None:
                return unsupported
            code, text = smtp.mail(message.sender, _mail_options(smtp, size_bytes, utf8=utf8))
            if code == 530:
                raise self._server.error(f"the server requires a login: {reply_line(code, text)}", "set `user` and `password` in [mail]")
            if code != 250:
                self._check_alive(code, text)
                refused = "the message was refused for its size" if code == 552 else "the sender was refused"
                return [replace(_refusal(address, code, text, refused), content=code == 552) for address in message.recipients]
            results = self._recipients(smtp, message)
            if not any(result.accepted for result in results):
                return results
            code, text = self._data(smtp, file)
        if 200 <= code < 300:
            return [RecipientResult(r.address, accepted=True, code=code, text=reply_text(text)) if r.accepted else r
                    for r in results]
        return [replace(_refusal(r.address, code, text, "the message was refused"), content=_is_about_content(code, text)) if r.accepted else r for r in results]

    def connect(self) -> None:
        self._ready()

    def _recipients(self, smtp: smtplib.SMTP, message: Message) -> list[RecipientResult]:
        results = []
        for address in message.recipients:
            # Given an invalid address, smtplib would send the message to the part of the text that looks like an address.
            if not ADDRESS.fullmatch(address):
                results.append(RecipientResult(address, accepted=False, code=553, text="the address is not valid in SMTP"))
                continue
            code, text = smtp.rcpt(address)
            self._check_alive(code, text)
            results.append(RecipientResult(address, accepted=True, code=code, text=reply_text(text)) if code in (250, 251)
                           else _refusal(address, code, text, ""))
        return results

    def _data(self, smtp: smtplib.SMTP, file: Path) -> tuple[int, bytes]:
        """Send the message with the DATA command and return the server's reply.

        Raises MailError if the connection breaks before the reply arrives.
        """
        code, text = smtp.docmd("DATA")
        if code != 354:
            self._check_alive(code, text)
            return code, text
        body_sent = False
        try:
            with file.open("rb") as source:
                pending = b""
                for chunk in dot_stuffed(iter(lambda: source.read(_CHUNK), b"")):
                    smtp.send(pending)
                    pending = chunk
            smtp.send(pending + b".\r\n")  # sent together, so that a small message fits into one packet
            body_sent = True
            assert smtp.sock is not None
            smtp.sock.settimeout(max(self.final_reply_s, self._server.timeout_s))
            code, text = smtp.getreply()
            smtp.sock.settimeout(self._server.timeout_s)
        except OSError as error:
            self._disconnect()
            if not body_sent:
                raise
            raise self._server.error(f"the server received the whole message, but its reply was lost ({reason(error)})",
                              "the message is sent again with the same Message-ID, so recipients may receive the message twice") from error
        self._check_alive(code, text)
        return code, text

    def _check_alive(self, code: int, text: bytes) -> None:
        """Raise MailError for a reply code after which the SMTP session cannot continue.

        These are 421 (RFC 5321, 4.2.2), and -1, which smtplib returns for an invalid reply.
        """
        if code in (421, -1):
            self._disconnect()
            raise self._server.error(f"the server ended the SMTP session: {reply_line(code, text)}", "the message is sent again later")

    def _ready(self) -> smtplib.SMTP:
        """Return the open connection if it still works (checked with RSET), otherwise a new connection."""
        if self._connection is not None:
            try:
                if self._connection.smtp.rset()[0] == 250:
                    return self._connection.smtp
            except OSError:
                pass  # the server may have closed the idle connection
            self._disconnect()
        from pipeline.mail.transports.yagmail_connection import YagmailConnection  # noqa: PLC0415  its import takes 100 ms

        with self._errors_translated("connecting"):
            self._connection = YagmailConnection(self._server, self._credentials, dialogue=self._dialogue)
        return self._connection.smtp

    @contextmanager
    def _errors_translated(self, doing: str) -> Iterator[None]:
        """Convert errors of smtplib, sockets and TLS in a `with` block to MailError with retry=True."""
        try:
            yield
        except MailError:
            self._disconnect()
            raise
        except UsageError as error:  # the environment variable or the file with the password or the token is missing
            raise self._server.error(f"the {'password' if self._credentials.token is None else 'access token'} cannot be read: {error.what}", error.fix) from error
        except (OSError, ValueError) as error:
            self._disconnect()
            what, fix = explain(error, doing=doing, user=self._credentials.user, timeout_s=self._server.timeout_s)
            raise self._server.error(what, fix) from error

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.smtp.close()
            self._connection = None

    def abort(self) -> None:
        """Shut down the socket, so that the delivery fails immediately. May be called from another thread."""
        connection = self._connection
        sock = connection.smtp.sock if connection is not None else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Send QUIT and close the connection, if one is open."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(OSError):
                connection.close()

    def receipt(self, address: str) -> str:
        return f"the mail server accepted the message for {address}"


def _measure(file: Path, message: Message) -> tuple[int, bool]:
    """Return a message's size in bytes, and whether SMTPUTF8 is needed (RFC 6531). Raises MailError."""
    try:
        with file.open("rb") as source:
            head = source.read(_CHUNK).partition(b"\r\n\r\n")[0]
            size_bytes = file.stat().st_size
    except OSError as error:
        raise MailError(f"the file of the message cannot be read: {error.strerror}", where=str(file),
                        fix="restore the file, or drop the message with `pipeline outbox drop`") from error
    return size_bytes, not (head.isascii() and "".join((message.sender, *message.recipients)).isascii())


def _unsupported(smtp: smtplib.SMTP, message: Message, size_bytes: int, *, utf8: bool) -> list[RecipientResult] | None:
    """Return a refusal for each recipient if the server does not support the message, otherwise None.

    In its reply to EHLO, the server has announced the maximum size of messages, and whether it supports non-ASCII addresses.
    utf8: whether the message needs SMTPUTF8.
    """
    limit = smtp.esmtp_features.get("size", "")
    too_large = limit.isdigit() and 0 < int(limit) < size_bytes
    if too_large:
        code, why = 552, (f"the message has {size_for_people(size_bytes)}, but the server accepts at most "
                          f"{size_for_people(int(limit))}; decrease `attach_limit` of the digest")
    elif utf8 and not smtp.has_extn("smtputf8"):
        code, why = 553, "an address contains non-ASCII characters, and the server does not support such addresses (SMTPUTF8)"
    else:
        return None
    return [RecipientResult(address, accepted=False, code=code, text=why, content=too_large, max_bytes=int(limit) if too_large else None)
            for address in message.recipients]


def _mail_options(smtp: smtplib.SMTP, size_bytes: int, *, utf8: bool) -> list[str]:
    options = [f"SIZE={size_bytes}"] if smtp.has_extn("size") else []
    return [*options, "SMTPUTF8", "BODY=8BITMIME"] if utf8 else options


_CONTENT = re.compile(rb"\b5\.(?:2\.3|3\.4|6\.\d+)\b|attach|virus|malware|executable|content|too (?:large|big)|\bsize\b|file type", re.IGNORECASE)


def _is_about_content(code: int, text: bytes) -> bool:
    """Return whether a server refused a message for its size or its content, and not its sender or the number of messages (RFC 3463)."""
    return code == 552 or (code >= 500 and _CONTENT.search(text) is not None)


def _refusal(address: str, code: int, text: bytes, what: str) -> RecipientResult:
    words = reply_text(text)
    return RecipientResult(address, accepted=False, code=code, text=f"{what}: {words}" if what else words,
                           retry=400 <= code < 500)


def dot_stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message in the form that the DATA command requires (RFC 5321, 4.5.2), without the final dot.

    A dot at the beginning of a line is doubled. A CR or LF that is not part of a CRLF becomes a CRLF. Otherwise, a server that accepts
    a lone CR or LF as a line end could read a part of the message as SMTP commands.
    """
    at_start, held = True, b""
    for chunk in chunks:
        data = held + chunk
        held = b"\r" if data.endswith(b"\r") else b""  # the next chunk may begin with the LF of this CR
        if held:
            data = data[:-1]
        if not data:
            continue
        data = _LINE_END.sub(b"\r\n", data)
        stuffed = data.replace(b"\n.", b"\n..")
        yield b"." + stuffed if at_start and data.startswith(b".") else stuffed
        at_start = data.endswith(b"\n")
    if held or not at_start:
        yield b"\r\n"
