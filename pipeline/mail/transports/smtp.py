"""Deliver mail by SMTP: verified TLS, many messages per connection, streamed bodies.

yagmail connects and logs in. This module implements the mail transaction (RFC 5321, section 3.3) itself, because the reply for each
recipient, and the step at which the connection broke, decide whether a message is sent again.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from pipeline.errors import MailError, UsageError
from pipeline.mail.transports.base import ADDRESS
from pipeline.mail.transports.errors import explain, reason, reply_line, reply_text
from pipeline.mail.transports.sendmail import token_from_command
from pipeline.model import Message, RecipientResult
from pipeline.settings import MAIL_PROVIDERS, MailTable, Settings
from pipeline.text import clean_line, size_for_people

FINAL_REPLY_S = 600.0
"""How long to wait for the reply to the final dot, in seconds. A client that waits less sends messages twice (RFC 5321, 4.5.3.2.6)."""
_CHUNK = 1 << 16
_LINE_END = re.compile(rb"\r\n|\r|\n")
_MASK = "********"
_SECURITY_OF_PORT = {465: "tls", 25: "starttls", 587: "starttls", 2525: "starttls"}
_PORT_OF_SECURITY = {"tls": 465, "starttls": 587, "none": 25}


def open_smtp(settings: Settings, data_dir: Path, *, dialogue: TextIO | None) -> SmtpTransport:
    """Return the transport for the SMTP server of [mail]."""
    mail = settings.mail
    host, port, security = server_of(mail)
    return SmtpTransport(host, port, security=security, credentials=_credentials(mail), timeout_s=mail.timeout,
                         ca_file=str(settings.folder / mail.ca_file) if mail.ca_file else None, dialogue=dialogue)


def server_of(mail: MailTable) -> tuple[str, int, str]:
    """Return host, port and security ("tls", "starttls" or "none") of the mail server.

    Values that are not set follow from the provider or from the port. Security is "none" only if the settings say so.
    """
    if mail.provider is not None:
        host, port, security = MAIL_PROVIDERS[mail.provider]
        return host, mail.port or port, mail.security or _SECURITY_OF_PORT.get(mail.port or port, security)
    chosen = mail.security or _SECURITY_OF_PORT.get(mail.port or 465, "tls")
    return mail.host or "localhost", mail.port or _PORT_OF_SECURITY[chosen], chosen


@dataclass(frozen=True)
class SmtpCredentials:
    """User name with a password or an OAuth2 token; both functions are called at each login."""

    user: str | None = None
    password: Callable[[], str] | None = None
    token: Callable[[], str] | None = None


def _credentials(mail: MailTable) -> SmtpCredentials:
    token: Callable[[], str] | None = None
    if mail.token_command is not None:
        token = partial(token_from_command, mail.token_command)
    elif mail.oauth2 is not None:
        from pipeline.mail.transports.oauth2 import access_token  # noqa: PLC0415  only this login needs requests

        token = partial(access_token, mail.oauth2)
    return SmtpCredentials(mail.user, mail.password.reveal if mail.password else None, token)


class SmtpTransport:
    """Delivers messages to one SMTP server. Connects for the first message and keeps the connection.

    security: "tls", "starttls" or "none". ca_file: PEM file with certificates to trust besides those of the system. timeout_s:
    limit for connecting and for each reply. dialogue: stream to which the dialogue is written, with secrets masked. final_reply_s:
    limit for the reply to the whole message, if longer than timeout_s.
    """

    def __init__(self, host: str, port: int, *, security: str, credentials: SmtpCredentials = SmtpCredentials(),
                 ca_file: str | None = None, timeout_s: float = 60.0, dialogue: TextIO | None = None) -> None:
        self._host = host
        self._port = port
        self._security = security
        self._credentials = credentials
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._dialogue = dialogue
        self.final_reply_s = FINAL_REPLY_S
        self._smtp: smtplib.SMTP | None = None

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        size_bytes, utf8 = _measure(file, message)
        smtp = self._connection()
        with self._errors_translated("sending"):
            unsupported = _unsupported(smtp, message, size_bytes, utf8=utf8)
            if unsupported is not None:
                return unsupported
            code, text = smtp.mail(message.sender, _mail_options(smtp, size_bytes, utf8=utf8))
            if code == 530:
                raise self._error(f"the server requires a login: {reply_line(code, text)}", "set `user` and `password` in [mail]")
            if code != 250:
                self._check_alive(code, text)
                return [_refusal(address, code, text, "the sender was refused") for address in message.recipients]
            results = self._recipients(smtp, message)
            if not any(result.accepted for result in results):
                return results
            code, text = self._data(smtp, file)
        if 200 <= code < 300:
            return [RecipientResult(r.address, accepted=True, code=code, text=reply_text(text)) if r.accepted else r
                    for r in results]
        return [_refusal(r.address, code, text, "the message was refused") if r.accepted else r for r in results]

    def connect(self) -> None:
        self._connection()

    def _recipients(self, smtp: smtplib.SMTP, message: Message) -> list[RecipientResult]:
        results = []
        for address in message.recipients:
            # smtplib would extract the part that looks like an address, and send the message to this address.
            if not ADDRESS.fullmatch(address):
                results.append(RecipientResult(address, accepted=False, code=553, text="the address is not valid in SMTP"))
                continue
            code, text = smtp.rcpt(address)
            self._check_alive(code, text)
            results.append(RecipientResult(address, accepted=True, code=code, text=reply_text(text)) if code in (250, 251)
                           else _refusal(address, code, text, ""))
        return results

    def _data(self, smtp: smtplib.SMTP, file: Path) -> tuple[int, bytes]:
        """Send the body and return the server's reply. Raises MailError if the reply is lost."""
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
            smtp.send(pending + b".\r\n")  # one packet if small enough
            body_sent = True
            assert smtp.sock is not None
            smtp.sock.settimeout(max(self.final_reply_s, self._timeout_s))
            code, text = smtp.getreply()
            smtp.sock.settimeout(self._timeout_s)
        except OSError as error:
            self._disconnect()
            if not body_sent:
                raise
            raise self._error(f"the server received the whole message, but its reply was lost ({reason(error)})",
                              "the message is sent again with the same Message-ID, so recipients may receive the message twice") from error
        self._check_alive(code, text)
        return code, text

    def _check_alive(self, code: int, text: bytes) -> None:
        """Raise MailError on 421 (RFC 5321, 4.2.2) and on -1, which smtplib returns for an invalid reply."""
        if code in (421, -1):
            self._disconnect()
            raise self._error(f"the server ended the session: {reply_line(code, text)}", "the message is sent again later")

    def _connection(self) -> smtplib.SMTP:
        """Return the open connection after a RSET command, or a new connection."""
        if self._smtp is not None:
            try:
                if self._smtp.rset()[0] == 250:
                    return self._smtp
            except OSError:
                pass  # servers close idle connections
            self._disconnect()
        self._smtp = self._connect()
        return self._smtp

    def _connect(self) -> smtplib.SMTP:
        with self._errors_translated("connecting"):
            client = self._yagmail_client()
            try:
                client.login()
                if self._credentials.token is not None:
                    self._authenticate_xoauth2(client.smtp, self._credentials.token())
            except BaseException as error:
                failed: smtplib.SMTP | None = client.smtp
                if failed is not None:
                    failed.close()
                # If EHLO is refused, smtplib tries HELO and then reports that STARTTLS or AUTH is missing.
                if isinstance(error, smtplib.SMTPException) and failed is not None and failed.ehlo_resp and not failed.does_esmtp:
                    raise self._error(f"the server refused EHLO: {reply_text(failed.ehlo_resp)}",
                                      "the message is sent again later") from error
                raise
            finally:
                client.is_closed = True  # otherwise the client's finaliser would send QUIT on this connection
            smtp: smtplib.SMTP = client.smtp
            smtp.ehlo_or_helo_if_needed()
            if smtp.sock is not None:
                # Each command waits for its reply. Without TCP_NODELAY, each command would also wait 40 ms for an ACK.
                smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return smtp

    def _yagmail_client(self) -> Any:
        """Return a yagmail client that has not connected yet."""
        from yagmail import SMTP as YagmailClient  # noqa: PLC0415,N811  it takes 100 ms, and only senders need it

        dialogue = self._dialogue

        class Client(YagmailClient):  # type: ignore[misc]  # yagmail ships no types
            @property
            def connection(self) -> Callable[..., smtplib.SMTP]:
                kind = LoggedSmtpSsl if self.ssl else LoggedSmtp
                return lambda *args, **kwargs: kind(*args, dialogue=dialogue, **kwargs)

        options: dict[str, Any] = {"timeout": self._timeout_s, "local_hostname": _own_name()}
        context = None if self._security == "none" else self._context()
        if self._security == "tls":
            options["context"] = context
        password = self._credentials.password() if self._credentials.password is not None else None
        # yagmail appends "@gmail.com" to a user without "@", but not to a user in a dictionary.
        client = Client(
            {self._credentials.user: self._credentials.user} if self._credentials.user else "", password, self._host, self._port,
            smtp_ssl=self._security == "tls",
            smtp_starttls={"context": context} if self._security == "starttls" else False,
            smtp_skip_login=password is None, soft_email_validation=False, **options)
        client.set_logging(None)
        return client

    def _authenticate_xoauth2(self, smtp: smtplib.SMTP, token: str) -> None:
        """Log in with AUTH XOAUTH2, as Gmail and Outlook define it."""
        smtp.ehlo_or_helo_if_needed()
        if "XOAUTH2" not in smtp.esmtp_features.get("auth", "").upper().split():
            raise self._error("the server does not offer OAuth2 logins (XOAUTH2) on this port", "use a password, or another port")
        initial = f"user={self._credentials.user}\x01auth=Bearer {token}\x01\x01"
        # If the login fails, the server sends an error as JSON and expects an empty response.
        try:
            smtp.auth("XOAUTH2", lambda challenge=None: initial if challenge is None else "")
        except smtplib.SMTPAuthenticationError as error:
            raise self._error(f"the server refused the token of {self._credentials.user!r}: {reply_line(error.smtp_code, error.smtp_error)}",
                              "log in again with `pipeline mail login`, or in the program that token_command runs") from error

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file:
            try:
                context.load_verify_locations(self._ca_file)
            except (OSError, ssl.SSLError) as error:
                raise MailError(f"the certificates cannot be read: {reason(error)}", where=self._ca_file,
                                fix="set `ca_file` in [mail] to a PEM file", retry=True) from error
        return context

    @contextmanager
    def _errors_translated(self, doing: str) -> Iterator[None]:
        """Raise errors of smtplib, sockets and TLS as MailError with retry=True."""
        try:
            yield
        except MailError:
            self._disconnect()
            raise
        except UsageError as error:  # the environment variable or the file with the password is missing
            raise self._error(f"the {'password' if self._credentials.token is None else 'access token'} cannot be read: {error.what}", error.fix) from error
        except (OSError, ValueError) as error:
            self._disconnect()
            what, fix = explain(error, doing=doing, user=self._credentials.user, timeout_s=self._timeout_s)
            raise self._error(what, fix) from error

    def _error(self, what: str, fix: str) -> MailError:
        return MailError(what, where=f"{self._host}:{self._port}", fix=fix, retry=True)

    def _disconnect(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def abort(self) -> None:
        """Shut down the socket, so that the delivery fails at once. May be called from another thread."""
        sock = self._smtp.sock if self._smtp is not None else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Send QUIT and disconnect."""
        if self._smtp is not None:
            smtp, self._smtp = self._smtp, None
            try:
                smtp.quit()
            except OSError:
                smtp.close()

    def receipt(self, address: str) -> str:
        return f"the mail server accepted the message for {address}"


def _own_name() -> str:
    """Return this host's full name or an address literal for EHLO (RFC 5321, 4.1.3), without DNS."""
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _measure(file: Path, message: Message) -> tuple[int, bool]:
    """Return the size in bytes, and whether SMTPUTF8 is needed (RFC 6531). Raises MailError."""
    try:
        with file.open("rb") as source:
            head = source.read(_CHUNK).partition(b"\r\n\r\n")[0]
            size_bytes = file.stat().st_size
    except OSError as error:
        raise MailError(f"the file of the message cannot be read: {error.strerror}", where=str(file),
                        fix="restore the file, or drop the message with `pipeline outbox drop`") from error
    return size_bytes, not (head.isascii() and "".join((message.sender, *message.recipients)).isascii())


def _unsupported(smtp: smtplib.SMTP, message: Message, size_bytes: int, *, utf8: bool) -> list[RecipientResult] | None:
    """Return a refusal for each recipient if the server's EHLO reply rules out the message, else None."""
    limit = smtp.esmtp_features.get("size", "")
    if limit.isdigit() and 0 < int(limit) < size_bytes:
        code, why = 552, (f"the message has {size_for_people(size_bytes)}, but the server accepts at most "
                          f"{size_for_people(int(limit))}; decrease `attach_limit` of the digest")
    elif utf8 and not smtp.has_extn("smtputf8"):
        code, why = 553, "an address contains non-ASCII characters, and the server does not support such addresses (SMTPUTF8)"
    else:
        return None
    return [RecipientResult(address, accepted=False, code=code, text=why) for address in message.recipients]


def _mail_options(smtp: smtplib.SMTP, size_bytes: int, *, utf8: bool) -> list[str]:
    options = [f"SIZE={size_bytes}"] if smtp.has_extn("size") else []
    return [*options, "SMTPUTF8", "BODY=8BITMIME"] if utf8 else options


def _refusal(address: str, code: int, text: bytes, what: str) -> RecipientResult:
    words = reply_text(text)
    return RecipientResult(address, accepted=False, code=code, text=f"{what}: {words}" if what else words,
                           retry=400 <= code < 500)


def dot_stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the body for the DATA command (RFC 5321, 4.5.2), without the final dot.

    Line ends become CRLF, and a dot at the start of a line is doubled. A lone CR or LF becomes CRLF as well: a server that accepts
    a lone CR or LF as a line end could otherwise read SMTP commands from the body.
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


class _DialogueLog:
    """Mixin for smtplib.SMTP that logs each line of the dialogue with credentials masked.

    From the AUTH command to the server's final reply, the lines in both directions are secret.
    """

    _secret = False

    def __init__(self, *args: Any, dialogue: TextIO | None = None, **kwargs: Any) -> None:
        self.dialogue = dialogue  # set first: smtplib connects in its constructor
        super().__init__(*args, **kwargs)

    def putcmd(self, cmd: str, args: str = "") -> None:
        if self.dialogue is not None:
            word, _, rest = f"{cmd} {args}".strip().partition(" ")
            if word.upper() == "AUTH":
                self._secret = True
                line = f"AUTH {rest.split(' ')[0]} {_MASK if ' ' in rest else ''}".rstrip()
            else:
                line = _MASK if self._secret else f"{cmd} {args}"
            self.dialogue.write(f"C: {clean_line(line)}\n")
        super().putcmd(cmd, args)  # type: ignore[misc]  # smtplib.SMTP's

    def getreply(self) -> tuple[int, bytes]:
        code: int
        code, text = super().getreply()  # type: ignore[misc]  # smtplib.SMTP's
        if self.dialogue is not None:
            for line in text.decode("utf-8", "replace").split("\n"):
                self.dialogue.write(f"S: {code} {_MASK if self._secret and code == 334 else clean_line(line)}\n")
            self._secret = self._secret and code == 334
        return code, text


class LoggedSmtp(_DialogueLog, smtplib.SMTP):
    """SMTP with STARTTLS or without encryption."""

class LoggedSmtpSsl(_DialogueLog, smtplib.SMTP_SSL):
    """SMTP over TLS from the first byte."""
