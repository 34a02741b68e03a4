"""Ways a message leaves: an SMTP server, a sendmail-compatible command, or a Maildir where neither is set.

A transport is one file and one line in `open_transport`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TextIO

from pipeline.mail.transports.maildir import MaildirTransport
from pipeline.mail.transports.sendmail import CommandTransport, token_of
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.model import Message, RecipientResult
from pipeline.settings import MAIL_PROVIDERS, MailTable, Settings

__all__ = ["CommandTransport", "MaildirTransport", "SmtpTransport", "Transport", "open_transport"]


class Transport(Protocol):
    """Delivers rendered messages. One thread at a time uses it, but for `abort`."""

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        """Hand `file` to message.recipients; what was said of each of them.

        Raises MailError when it was handed to nobody, or when nobody knows; its `retry` says whether trying
        again can help.
        """
        ...

    def connect(self) -> None:
        """See that messages could be delivered: connect and log in, or make the folder. Raises MailError."""
        ...

    def abort(self) -> None:
        """Called from another thread: make a delivery in progress fail at once."""
        ...

    def close(self) -> None:
        """Give back what is open; the next deliver opens it again."""
        ...


def open_transport(settings: Settings, data_dir: Path, *, dialogue: TextIO | None = None) -> Transport:
    """The transport [mail] asks for; nothing is connected yet.

    dialogue: gets the SMTP dialogue, secrets masked.
    """
    mail = settings.mail
    if mail.command is not None:
        return CommandTransport(mail.command)
    if mail.host is None and mail.provider is None:
        return MaildirTransport(data_dir / mail.maildir)
    host, port, security = server_of(mail)
    return SmtpTransport(
        host, port, security=security, user=mail.user, password=mail.password.reveal if mail.password else None,
        token=_token(mail),
        ca_file=str(settings.folder / mail.ca_file) if mail.ca_file else None, timeout_s=mail.timeout,
        dialogue=dialogue)


def _token(mail: MailTable) -> Callable[[], str] | None:
    """What gives an access token; None for a login by password."""
    if mail.token_command is not None:
        return partial(token_of, mail.token_command)
    if mail.oauth2 is not None:
        from pipeline.mail.transports.oauth2 import access_token  # noqa: PLC0415  only this login needs requests

        return partial(access_token, mail.oauth2)
    return None


_SECURITY_OF_PORT = {465: "tls", 25: "starttls", 587: "starttls", 2525: "starttls"}
_PORT_OF_SECURITY = {"tls": 465, "starttls": 587, "none": 25}


def server_of(mail: MailTable) -> tuple[str, int, str]:
    """Host, port and security ("tls", "starttls", "none"); what is not given comes from the provider or the port.

    Never "none" unless asked for.
    """
    if mail.provider is not None:
        host, port, security = MAIL_PROVIDERS[mail.provider]
        return host, mail.port or port, mail.security or _SECURITY_OF_PORT.get(mail.port or port, security)
    chosen = mail.security or _SECURITY_OF_PORT.get(mail.port or 465, "tls")
    return mail.host or "localhost", mail.port or _PORT_OF_SECURITY[chosen], chosen
