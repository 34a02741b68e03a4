"""[mail] and [alerts]: through which server messages are sent, and who is told when a spider is in trouble."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import (
    Address,
    Duration,
    HttpUrl,
    Secret,
    Table,
    https_or_loopback,
    nearest,
)

MAIL_PROVIDERS: dict[str, tuple[str, int, Literal["tls", "starttls"]]] = {
    "126": ("smtp.126.com", 465, "tls"),
    "163": ("smtp.163.com", 465, "tls"),
    "aliyun": ("smtp.aliyun.com", 465, "tls"),
    "exmail": ("smtp.exmail.qq.com", 465, "tls"),
    "fastmail": ("smtp.fastmail.com", 465, "tls"),
    "gmail": ("smtp.gmail.com", 465, "tls"),
    "gmx": ("mail.gmx.net", 465, "tls"),
    "icloud": ("smtp.mail.me.com", 587, "starttls"),
    "office365": ("smtp.office365.com", 587, "starttls"),
    "outlook": ("smtp-mail.outlook.com", 587, "starttls"),
    "qq": ("smtp.qq.com", 465, "tls"),
    "sina": ("smtp.sina.com", 465, "tls"),
    "yahoo": ("smtp.mail.yahoo.com", 465, "tls"),
    "yandex": ("smtp.yandex.com", 465, "tls"),
    "zoho": ("smtp.zoho.com", 465, "tls"),
}
"""Host, port and security that `provider` in [mail] stands for."""

Language = Literal["en", "zh"]
"""Of the fixed words."""


class DkimTable(Table):
    """A signature of our own (RFC 6376), for servers that do not sign."""

    domain: str = Field(pattern=r"^[A-Za-z0-9.-]+$")
    selector: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """The public key is in the TXT record SELECTOR._domainkey.DOMAIN."""
    key: Secret
    """RSA or Ed25519 private key, PEM."""


_MICROSOFT = "https://login.microsoftonline.com/common/oauth2/v2.0"
OAUTH2_PROVIDERS: dict[str, dict[str, str]] = {
    "gmail": {"authorize_url": "https://accounts.google.com/o/oauth2/v2/auth",
              "token_url": "https://oauth2.googleapis.com/token", "scope": "https://mail.google.com/"},
    "outlook": {"authorize_url": f"{_MICROSOFT}/authorize", "token_url": f"{_MICROSOFT}/token",
                "scope": "https://outlook.office.com/SMTP.Send offline_access"},
}
OAUTH2_PROVIDERS["office365"] = OAUTH2_PROVIDERS["outlook"]
"""Where `provider` in [mail] gives tokens, and for what they are asked."""


class OAuth2Table(Table):
    """An app registered with the provider, and the consent of the account's owner (`pipeline mail login`)."""

    client_id: str = Field(min_length=1)
    client_secret: Secret | None = None
    refresh_token: Secret
    """Where `pipeline mail login` keeps the consent: a file."""
    token_url: HttpUrl = ""
    authorize_url: HttpUrl = ""
    scope: str = ""

    @field_validator("token_url", "authorize_url")
    @classmethod
    def _secure(cls, value: str) -> str:
        https_or_loopback(value)
        return value


class MailTable(Table):
    from_: Address = Field("Pipeline <pipeline@localhost>", alias="from")
    host: str | None = None
    provider: str | None = None
    command: tuple[str, ...] | None = None
    """A sendmail-compatible program and its options, instead of a server: gets `-i -f SENDER -- RECIPIENT…`
    and the message on its standard input. Run without a shell."""
    port: int | None = Field(None, ge=1, le=65535)
    security: Literal["tls", "starttls", "none"] | None = None
    user: str | None = None
    password: Secret | None = None
    token_command: tuple[str, ...] | None = None
    """Prints an OAuth2 access token for `user`, asked for at each login (XOAUTH2). Run without a shell."""
    oauth2: OAuth2Table | None = None
    """An access token of our own for `user`. For gmail, outlook and office365 the addresses are known."""
    allow_plaintext_auth: bool = False
    ca_file: str | None = None
    """Certificates to trust beside the system's, for a server with its own authority."""
    timeout: Duration = 60.0
    reply_to: Address | None = None
    sender: Address | None = None
    """Who really sends (the Sender header), where that is not `from`."""
    envelope_from: Address | None = None
    """Where bounces go (MAIL FROM); by default `from`."""
    per_hour: int | None = Field(None, ge=1)
    """At most so many messages in any hour; the rest waits."""
    max_age: Duration = 5 * 86400.0
    """A message older than this is parked instead of tried again."""
    max_attempts: int = Field(200, ge=1)
    """A message tried so often is parked, too."""
    maildir: str = "mail"
    """Where messages land when there is no host: a Maildir, relative to data_dir."""
    dkim: DkimTable | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MailTable:
        ways = [name for name in ("host", "provider", "command") if getattr(self, name)]
        if len(ways) > 1:
            raise PydanticCustomError("mail", "give {one} or {other}, not both", {"one": ways[0], "other": ways[1]})
        if self.provider is not None and self.provider not in MAIL_PROVIDERS:
            raise PydanticCustomError("mail", "no provider named {found}{hint}; known: {known}; or give host", {
                "found": repr(self.provider), "hint": nearest(self.provider, MAIL_PROVIDERS),
                "known": ", ".join(MAIL_PROVIDERS)})
        logins = [name for name in ("password", "token_command", "oauth2") if getattr(self, name) is not None]
        if len(logins) > 1:
            raise PydanticCustomError("mail", "give {one} or {other}, not both", {"one": logins[0], "other": logins[1]})
        secret = "a password" if self.password is not None else "a token"
        logs_in = bool(logins)
        if logs_in and not self.user:
            raise PydanticCustomError("mail", "{secret} needs a user", {"secret": secret})
        if self.security == "none" and logs_in and not self.allow_plaintext_auth:
            raise PydanticCustomError("mail", "security = \"none\" would send the {secret} in the clear; use \"tls\" or "
                                      "\"starttls\", or set allow_plaintext_auth = true", {"secret": secret.split()[1]})
        return self

    @model_validator(mode="after")
    def _known_token_server(self) -> MailTable:
        if self.oauth2 is None or (self.oauth2.token_url and self.oauth2.authorize_url and self.oauth2.scope):
            return self
        known = OAUTH2_PROVIDERS.get(self.provider or "")
        if known is None:
            raise PydanticCustomError("mail", "oauth2 needs token_url, authorize_url and scope, or provider = {known}",
                                      {"known": " | ".join(f'"{name}"' for name in OAUTH2_PROVIDERS)})
        given = {name: getattr(self.oauth2, name) for name in known if getattr(self.oauth2, name)}
        return self.model_copy(update={"oauth2": self.oauth2.model_copy(update=known | given)})

    @property
    def envelope_sender(self) -> str:
        """Whom MAIL FROM names, as the settings have it."""
        return self.envelope_from or self.from_


class AlertsTable(Table):
    to: tuple[Address, ...] = ()
    """Who is told when a spider is in trouble, and when that is over; nobody without it."""
    after: int = Field(3, ge=1)
    """Failures in a row."""
    every: Duration = 5 * 60.0
    """At most one mail of alerts in this time; what starts or ends meanwhile goes into the next."""
    login_before: Duration = 3 * 86400.0
    """How long before a login's cookie ends somebody is told. "0s": never."""
    language: Language = "en"
