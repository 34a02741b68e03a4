"""SMTP through a yagmail connection: verified TLS, one connection for many messages, bodies from their files.

yagmail connects and logs in; the transaction (RFC 5321, 3.3) is done here, because what it says of each
recipient, and at which step it broke, decides whether a message is sent again.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from pipeline.errors import MailError, UsageError
from pipeline.mail.transports.dialogue import Plain, Tls
from pipeline.mail.transports.errors import explained, reason, reply_text, said
from pipeline.mail.transports.wire import dotted
from pipeline.model import Message, RecipientResult
from pipeline.text import size_for_people

_CHUNK = 1 << 16
ADDRESS = re.compile(r"[^\s<>\"(),:;\\\[\]\x00-\x1f\x7f@]{1,64}@[^\s<>\"(),;\\\x00-\x1f\x7f@]{1,255}")
FINAL_REPLY_S = 600.0
"""RFC 5321, 4.5.3.2.6: a sender that gives up sooner after the final dot sends mails twice."""


class SmtpTransport:
    """Delivers to one SMTP server; connects on the first message and keeps the connection.

    security: "tls", "starttls" or "none". password: asked for at each login, so that a corrected one is used
    without a restart; token: the same for an OAuth2 access token. ca_file: PEM trusted beside the system's. timeout_s: of connecting and of each answer.
    """

    def __init__(self, host: str, port: int, *, security: str, user: str | None = None,
                 password: Callable[[], str] | None = None, token: Callable[[], str] | None = None, ca_file: str | None = None, timeout_s: float = 60.0,
                 final_reply_s: float = FINAL_REPLY_S, dialogue: TextIO | None = None) -> None:
        self._host = host
        self._port = port
        self._security = security
        self._user = user
        self._password = password
        self._token = token
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._final_reply_s = final_reply_s
        self._dialogue = dialogue
        self._smtp: smtplib.SMTP | None = None

    @property
    def where(self) -> str:
        return f"{self._host}:{self._port}"

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        size_bytes, wide = _measure(file, message)
        smtp = self._ready()
        with self._translated("sending"):
            refused = _unfit(smtp, message, size_bytes, wide=wide)
            if refused is not None:
                return refused
            code, text = smtp.mail(message.sender, _mail_options(smtp, size_bytes, wide=wide))
            if code == 530:
                raise self._error(f"the server wants a login: {said(code, text)}", "set [mail] user and password")
            if code != 250:
                self._check_alive(code, text)
                return [_refusal(address, code, text, "the sender was refused") for address in message.recipients]
            results = self._recipients(smtp, message)
            taken = [result.address for result in results if result.accepted]
            if not taken:
                return results
            code, text = self._data(smtp, file)
        if 200 <= code < 300:
            return [RecipientResult(r.address, accepted=True, code=code, text=reply_text(text)) if r.accepted else r
                    for r in results]
        return [_refusal(r.address, code, text, "the message was refused") if r.accepted else r for r in results]

    def connect(self) -> None:
        self._ready()

    def _recipients(self, smtp: smtplib.SMTP, message: Message) -> list[RecipientResult]:
        results = []
        for address in message.recipients:
            # smtplib would take the part of it that looks like an address, and send the mail to that one.
            if not ADDRESS.fullmatch(address):
                results.append(RecipientResult(address, accepted=False, code=553, text="no address SMTP can carry"))
                continue
            code, text = smtp.rcpt(address)
            self._check_alive(code, text)
            results.append(RecipientResult(address, accepted=True, code=code, text=reply_text(text)) if code in (250, 251)
                           else _refusal(address, code, text, ""))
        return results

    def _data(self, smtp: smtplib.SMTP, file: Path) -> tuple[int, bytes]:
        """Send the body; the server's word on it. An answer that never comes leaves open who has the message."""
        code, text = smtp.docmd("DATA")
        if code != 354:
            self._check_alive(code, text)
            return code, text
        whole = False
        try:
            with file.open("rb") as source:
                held = b""
                for chunk in dotted(iter(lambda: source.read(_CHUNK), b"")):
                    smtp.send(held)
                    held = chunk
            smtp.send(held + b".\r\n")  # one packet where it fits
            whole = True
            assert smtp.sock is not None
            smtp.sock.settimeout(max(self._final_reply_s, self._timeout_s))
            code, text = smtp.getreply()
            smtp.sock.settimeout(self._timeout_s)
        except OSError as error:
            self._drop()
            if not whole:
                raise
            raise self._error(f"the server took the whole message and its answer was lost ({reason(error)})",
                              "it is sent again with the same Message-ID; somebody may get it twice") from error
        self._check_alive(code, text)
        return code, text

    def _check_alive(self, code: int, text: bytes) -> None:
        """421 at any step: the server is closing the connection (RFC 5321, 4.2.2). -1: no SMTP at all."""
        if code in (421, -1):
            self._drop()
            raise self._error(f"the server gave up: {said(code, text)}", "tried again later")

    def _ready(self) -> smtplib.SMTP:
        """The connection, reset (RSET) where it was used before, or a new one where it is gone."""
        if self._smtp is not None:
            try:
                if self._smtp.rset()[0] == 250:
                    return self._smtp
            except OSError:
                pass  # servers close idle connections: a new one it is
            self._drop()
        self._smtp = self._connect()
        return self._smtp

    def _connect(self) -> smtplib.SMTP:
        from yagmail import SMTP as YagmailClient  # noqa: PLC0415,N811  it takes 100 ms, and only senders need it

        dialogue = self._dialogue

        class Connection(YagmailClient):  # type: ignore[misc]  # yagmail ships no types
            @property
            def connection(self) -> Callable[..., smtplib.SMTP]:
                kind = Tls if self.ssl else Plain
                return lambda *args, **kwargs: kind(*args, dialogue=dialogue, **kwargs)

        options: dict[str, Any] = {"timeout": self._timeout_s, "local_hostname": _own_name()}
        with self._translated("connecting"):
            context = None if self._security == "none" else self._context()
            if self._security == "tls":
                options["context"] = context
            password = self._password() if self._password is not None else None
            # A name without "@" would become a Gmail address; as a table it is left alone.
            client = Connection(
                {self._user: self._user} if self._user else "", password, self._host, self._port,
                smtp_ssl=self._security == "tls",
                smtp_starttls={"context": context} if self._security == "starttls" else False,
                smtp_skip_login=password is None, soft_email_validation=False, **options)
            client.set_logging(None)
            smtp: smtplib.SMTP | None
            try:
                client.login()
                if self._token is not None:
                    self._log_in_with(client.smtp, self._token())
            except BaseException as error:
                smtp = client.smtp
                if smtp is not None:
                    smtp.close()
                # Where EHLO is refused smtplib says HELO, and then that there is no STARTTLS and no AUTH.
                if isinstance(error, smtplib.SMTPException) and smtp is not None and smtp.ehlo_resp and not smtp.does_esmtp:
                    raise self._error(f"the server refused EHLO: {reply_text(smtp.ehlo_resp)}", "tried again later") from error
                raise
            finally:
                client.is_closed = True  # or its finaliser says QUIT on a connection that is ours
            smtp = client.smtp
            assert smtp is not None
            smtp.ehlo_or_helo_if_needed()
            if smtp.sock is not None:
                # Each command waits for its answer: without this it also waits 40 ms for an ACK.
                smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return smtp

    def _log_in_with(self, smtp: smtplib.SMTP, token: str) -> None:
        """XOAUTH2, as Gmail and Outlook take it. A refusal is an error in JSON that wants an empty answer."""
        smtp.ehlo_or_helo_if_needed()
        if "XOAUTH2" not in smtp.esmtp_features.get("auth", "").upper().split():
            raise self._error("the server takes no OAuth2 login (XOAUTH2) here", "use a password, or another port")
        said_once = f"user={self._user}\x01auth=Bearer {token}\x01\x01"
        try:
            smtp.auth("XOAUTH2", lambda challenge=None: said_once if challenge is None else "")
        except smtplib.SMTPAuthenticationError as error:
            raise self._error(f"the server refused the token of {self._user!r}: {said(error.smtp_code, error.smtp_error)}",
                              "log in again: `pipeline mail login`, or where token_command keeps its login") from error

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file:
            try:
                context.load_verify_locations(self._ca_file)
            except (OSError, ssl.SSLError) as error:
                raise MailError(f"the certificates cannot be read: {reason(error)}", where=self._ca_file,
                                fix="set [mail] ca_file to a PEM file", retry=True) from error
        return context

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """What can go wrong on the way, as MailError. Trying again can help with all of it: servers come back,
        passwords and certificates are corrected; a message waits until it is too old."""
        try:
            yield
        except MailError:
            self._drop()
            raise
        except UsageError as error:  # the password's variable or file is not there
            raise self._error(f"no {'password' if self._token is None else 'token'}: {error.what}", error.fix) from error
        except (OSError, ValueError) as error:
            self._drop()
            what, fix = explained(error, doing=doing, user=self._user, timeout_s=self._timeout_s)
            raise self._error(what, fix) from error

    def _error(self, what: str, fix: str) -> MailError:
        return MailError(what, where=self.where, fix=fix, retry=True)

    def _drop(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def abort(self) -> None:
        """End what is being said, from another thread: the delivery fails at once and is tried again."""
        sock = self._smtp.sock if self._smtp is not None else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye (QUIT) and disconnect."""
        if self._smtp is not None:
            smtp, self._smtp = self._smtp, None
            try:
                smtp.quit()
            except OSError:
                smtp.close()


def _own_name() -> str:
    """What EHLO says: this host's full name, or an address literal (RFC 5321, 4.1.3); asks no name server."""
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _measure(file: Path, message: Message) -> tuple[int, bool]:
    """Size in bytes, and whether addresses or headers need SMTPUTF8 (RFC 6531). Raises MailError: it is gone."""
    try:
        with file.open("rb") as source:
            head = source.read(_CHUNK).partition(b"\r\n\r\n")[0]
            size_bytes = file.stat().st_size
    except OSError as error:
        raise MailError(f"the message cannot be read: {error.strerror}", where=str(file),
                        fix="drop it with `pipeline outbox drop`") from error
    return size_bytes, not (head.isascii() and "".join((message.sender, *message.recipients)).isascii())


def _unfit(smtp: smtplib.SMTP, message: Message, size_bytes: int, *, wide: bool) -> list[RecipientResult] | None:
    """Refusals for what the server has said it cannot take, before anything is sent."""
    limit = smtp.esmtp_features.get("size", "")
    if limit.isdigit() and 0 < int(limit) < size_bytes:
        code, why = 552, (f"the server takes {size_for_people(int(limit))}, the message has "
                          f"{size_for_people(size_bytes)}; lower attach_limit of the digest")
    elif wide and not smtp.has_extn("smtputf8"):
        code, why = 553, "an address has letters outside ASCII, and the server has no SMTPUTF8"
    else:
        return None
    return [RecipientResult(address, accepted=False, code=code, text=why) for address in message.recipients]


def _mail_options(smtp: smtplib.SMTP, size_bytes: int, *, wide: bool) -> list[str]:
    options = [f"SIZE={size_bytes}"] if smtp.has_extn("size") else []
    return [*options, "SMTPUTF8", "BODY=8BITMIME"] if wide else options


def _refusal(address: str, code: int, text: bytes, what: str) -> RecipientResult:
    words = reply_text(text)
    return RecipientResult(address, accepted=False, code=code, text=f"{what}: {words}" if what else words,
                           retry=400 <= code < 500)
