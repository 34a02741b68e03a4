"""Open SMTP connections, encrypt them and log in, with the yagmail library.

Importing yagmail takes 100 ms. This module is therefore imported only when the first connection is opened.
"""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

import yagmail

from pipeline.errors import MailError
from pipeline.mail.transports.errors import reason, reply_line, reply_text
from pipeline.mail.transports.smtp_server import SmtpCredentials, SmtpServer
from pipeline.text import clean_line

_MASK = "********"


class YagmailConnection:
    """A connection to a mail server, which yagmail opens, encrypts and logs in as the settings require.

    smtp: the smtplib object of the connection, for sending messages. dialogue: stream to which the SMTP dialogue is written, with
    secrets masked. Raises MailError, UsageError, and the errors of smtplib, sockets and TLS.
    """

    def __init__(self, server: SmtpServer, credentials: SmtpCredentials, *, dialogue: TextIO | None) -> None:
        self._server = server
        self._credentials = credentials
        self._client = _client(server, credentials, dialogue)
        try:
            self.smtp = self._logged_in()
        except BaseException as error:
            failed: smtplib.SMTP | None = self._client.smtp
            if failed is not None:
                failed.close()
            # If the server refuses EHLO, smtplib uses HELO instead, and then raises the misleading error that STARTTLS or AUTH is missing.
            if isinstance(error, smtplib.SMTPException) and failed is not None and failed.ehlo_resp and not failed.does_esmtp:
                raise server.error(f"the server refused the EHLO command: {reply_text(failed.ehlo_resp)}",
                                   "the message is sent again later") from error
            raise

    def close(self) -> None:
        """Send QUIT and close the connection."""
        try:
            self._client.close()
        finally:
            self.smtp.close()

    def _logged_in(self) -> smtplib.SMTP:
        self._client.login()
        smtp: smtplib.SMTP = self._client.smtp
        if self._credentials.token is not None:
            self._authenticate_xoauth2(smtp, self._credentials.token())
        smtp.ehlo_or_helo_if_needed()
        if smtp.sock is not None:
            # Without TCP_NODELAY, each command would be delayed by up to 40 ms, until the ACK for the previous packet arrives.
            smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return smtp

    def _authenticate_xoauth2(self, smtp: smtplib.SMTP, token: str) -> None:
        """Log in with AUTH XOAUTH2, as Gmail and Outlook define it."""
        user = self._credentials.user
        smtp.ehlo_or_helo_if_needed()
        if "XOAUTH2" not in smtp.esmtp_features.get("auth", "").upper().split():
            raise self._server.error("the server does not offer OAuth2 logins (XOAUTH2) on this port", "use a password, or another port")
        initial = f"user={user}\x01auth=Bearer {token}\x01\x01"
        # If the login fails, the server sends an error as JSON and expects an empty response.
        try:
            smtp.auth("XOAUTH2", lambda challenge=None: initial if challenge is None else "")
        except smtplib.SMTPAuthenticationError as error:
            raise self._server.error(f"the server refused the token of {user!r}: {reply_line(error.smtp_code, error.smtp_error)}",
                                     "log in again with `pipeline mail login`, or in the program that token_command runs") from error


class _Client(yagmail.Client):  # type: ignore[misc]  # yagmail ships no types
    """A yagmail client that writes the SMTP dialogue to a stream.

    When Python deletes the client object, yagmail sends QUIT, which has no effect if the connection is already closed.
    """

    dialogue: TextIO | None = None

    @property
    def connection(self) -> Callable[..., smtplib.SMTP]:
        return partial(_LoggedSmtpSsl if self.ssl else _LoggedSmtp, dialogue=self.dialogue)


def _client(server: SmtpServer, credentials: SmtpCredentials, dialogue: TextIO | None) -> _Client:
    """Return a yagmail client that has not connected yet."""
    options: dict[str, Any] = {"timeout": server.timeout_s, "local_hostname": _own_name()}
    context = None if server.security == "none" else _context(server.ca_file)
    if server.security == "tls":
        options["context"] = context
    password = credentials.password() if credentials.password is not None else None
    # yagmail appends "@gmail.com" to a user name without "@", unless the user name is passed in a dictionary.
    client = _Client({credentials.user: credentials.user} if credentials.user else "", password, server.host, server.port,
                     smtp_ssl=server.security == "tls",
                     smtp_starttls={"context": context} if server.security == "starttls" else False,
                     smtp_skip_login=password is None, soft_email_validation=False, **options)
    client.set_logging(None)
    client.dialogue = dialogue
    return client


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise MailError(f"the certificates cannot be read: {reason(error)}", where=ca_file,
                            fix="set `ca_file` in [mail] to a PEM file", retry=True) from error
    return context


def _own_name() -> str:
    """Return this host's name for EHLO, without using DNS: its full name, or else an address literal.

    See RFC 5321, 4.1.3.
    """
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


class _DialogueLog:
    """Mixin for smtplib.SMTP that writes each line of the dialogue to a stream, with credentials masked.

    Between the AUTH command and the server's final reply, the lines of the client and the challenges of the server (334) are masked.
    """

    _secret = False
    sock: Any  # an attribute of smtplib.SMTP

    def __init__(self, *args: Any, dialogue: TextIO | None = None, **kwargs: Any) -> None:
        self.dialogue = dialogue  # set first: smtplib connects in its constructor
        super().__init__(*args, **kwargs)

    def putcmd(self, cmd: str, args: str = "") -> None:
        if self.dialogue is not None and self.sock is not None:
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


class _Utf8Login:
    """Mixin for smtplib.SMTP that also logs in with a user name or a password outside ASCII, in UTF-8 (RFC 4616, section 2)."""

    def login(self, user: str, password: str, *, initial_response_ok: bool = True) -> tuple[int, bytes]:
        smtp: Any = self
        if user.isascii() and password.isascii():
            done: tuple[int, bytes] = super().login(user, password, initial_response_ok=initial_response_ok)  # type: ignore[misc]  # smtplib.SMTP's
            return done
        smtp.ehlo_or_helo_if_needed()
        offered = smtp.esmtp_features.get("auth", "").upper().split()
        mechanisms = [name for name in ("PLAIN", "LOGIN") if name in offered]
        if not mechanisms:
            raise smtplib.SMTPException("the server offers neither AUTH PLAIN nor AUTH LOGIN, which a user name or a password outside ASCII needs")
        for mechanism in mechanisms:  # as smtplib does: some servers offer a mechanism that they do not support
            if mechanism == "PLAIN":
                code, reply = smtp.docmd("AUTH", "PLAIN " + _base64(f"\0{user}\0{password}"))
            else:
                code, reply = smtp.docmd("AUTH", "LOGIN " + _base64(user))
                if code == 334:
                    code, reply = smtp.docmd(_base64(password))
            if code in (235, 503):  # 503: already authenticated
                return code, reply
        raise smtplib.SMTPAuthenticationError(code, reply)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


class _LoggedSmtp(_DialogueLog, _Utf8Login, smtplib.SMTP):
    """An SMTP connection with STARTTLS or without encryption."""


class _LoggedSmtpSsl(_DialogueLog, _Utf8Login, smtplib.SMTP_SSL):
    """An SMTP connection that uses TLS from the first byte."""
