"""The mail server of [mail]: host, port, security and credentials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.errors import MailError
from pipeline.mail.transports.sendmail import token_from_command
from pipeline.settings import MAIL_PROVIDERS, MailTable

_SECURITY_OF_PORT = {465: "tls", 25: "starttls", 587: "starttls", 2525: "starttls"}
_PORT_OF_SECURITY = {"tls": 465, "starttls": 587, "none": 25}


@dataclass(frozen=True)
class SmtpServer:
    """A mail server.

    security: "tls", "starttls" or "none". ca_file: PEM file with certificates that are trusted in addition to those of the system;
    None means only those of the system. timeout_s: time limit for connecting and for each reply of the server.
    """

    host: str
    port: int
    security: str
    ca_file: str | None = None
    timeout_s: float = 60.0

    def error(self, what: str, fix: str) -> MailError:
        """Return a MailError that names this server and says that the delivery can be retried."""
        return MailError(what, where=f"{self.host}:{self.port}", fix=fix, retry=True)


def server_of(mail: MailTable) -> tuple[str, int, str]:
    """Return host, port and security ("tls", "starttls" or "none") of the mail server.

    A value that [mail] does not set is derived from the provider or from the port. Security is "none" only if [mail] sets this value.
    """
    if mail.provider is not None:
        host, port, security = MAIL_PROVIDERS[mail.provider]
        return host, mail.port or port, mail.security or _SECURITY_OF_PORT.get(mail.port or port, security)
    chosen = mail.security or _SECURITY_OF_PORT.get(mail.port or 465, "tls")
    return mail.host or "localhost", mail.port or _PORT_OF_SECURITY[chosen], chosen


@dataclass(frozen=True)
class SmtpCredentials:
    """User name and password, or user name and OAuth2 access token.

    password, token: functions that return the secret; called at each login, so that a new secret is used without a restart.
    """

    user: str | None = None
    password: Callable[[], str] | None = None
    token: Callable[[], str] | None = None


NO_CREDENTIALS = SmtpCredentials()


def credentials_of(mail: MailTable, on_secret: Callable[[str], None]) -> SmtpCredentials:
    """Return the credentials of [mail]. on_secret: called with each token that is obtained, before it is used."""
    token: Callable[[], str] | None = None
    if mail.token_command is not None:
        token = partial(_token_from_command, mail.token_command, on_secret)
    elif mail.oauth2 is not None:
        from pipeline.mail.transports.oauth2 import access_token  # noqa: PLC0415  only this login needs requests

        token = partial(access_token, mail.oauth2, on_secret)
    return SmtpCredentials(mail.user, mail.password.reveal if mail.password else None, token)


def _token_from_command(command: Sequence[str], on_secret: Callable[[str], None]) -> str:
    token = token_from_command(command)
    on_secret(token)
    return token
