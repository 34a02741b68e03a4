"""[mail] and [alerts]: how messages are sent, and who receives mails about problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, GetJsonSchemaHandler, TypeAdapter, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue, SkipJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError

from pipeline.languages import LANGUAGES
from pipeline.registry import DEFAULT_MAIL_TRANSPORT, MAIL_TRANSPORTS, load
from pipeline.settings.fields.scalars import (
    Address,
    Duration,
    HttpUrl,
    Table,
    ZoneName,
    https_or_loopback,
    nearest,
)
from pipeline.settings.fields.secret import Secret

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
"""Host, port and security of each `provider` in [mail]."""

if TYPE_CHECKING:
    Language = str
else:  # type checkers do not support a computed Literal
    Language = Literal[LANGUAGES]
"""The languages of the fixed texts in mails."""


class DkimTable(Table):
    """A DKIM signature (RFC 6376), for mail servers that do not sign messages."""

    domain: str = Field(pattern=r"^[A-Za-z0-9.-]+$")
    """Domain that signs the messages."""
    selector: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the key. The TXT record SELECTOR._domainkey.DOMAIN contains the public key."""
    key: Secret
    """Private key in PEM format: RSA or Ed25519."""


_MICROSOFT = "https://login.microsoftonline.com/common/oauth2/v2.0"
OAUTH2_PROVIDERS: dict[str, dict[str, str]] = {
    "gmail": {"authorize_url": "https://accounts.google.com/o/oauth2/v2/auth",
              "token_url": "https://oauth2.googleapis.com/token", "scope": "https://mail.google.com/"},
    "outlook": {"authorize_url": f"{_MICROSOFT}/authorize", "token_url": f"{_MICROSOFT}/token",
                "scope": "https://outlook.office.com/SMTP.Send offline_access"},
}
OAUTH2_PROVIDERS["office365"] = OAUTH2_PROVIDERS["outlook"]
"""OAuth2 URLs and scope of each `provider` in [mail] for which they are known."""


class OAuth2Table(Table):
    """OAuth2 for the mail server, with an app that is registered with the provider.

    `pipeline mail login` asks the owner of the account for consent.
    """

    client_id: str = Field(min_length=1)
    """Client id of the app that is registered with the provider."""
    client_secret: Secret | None = None
    """Client secret of the app, if the app has one."""
    refresh_token: Secret
    """File in which `pipeline mail login` stores the refresh token."""
    token_url: HttpUrl = ""
    """URL that issues tokens. The providers gmail, outlook and office365 have a default."""
    authorize_url: HttpUrl = ""
    """URL at which the owner of the account gives consent. The providers gmail, outlook and office365 have a default."""
    scope: str = ""
    """Scope to request. The providers gmail, outlook and office365 have a default."""

    @field_validator("token_url", "authorize_url")
    @classmethod
    def _secure(cls, value: str) -> str:
        https_or_loopback(value)
        return value


def _transport_keys() -> list[str]:
    """Return the keys of [mail] that select a transport."""
    return [key for transport in MAIL_TRANSPORTS.values() for key in transport.keys]


def transport_tables() -> dict[str, str]:
    """Return the models of the tables [mail.KEY] that belong to transports.

    The result maps KEY to the model of the table, as "module:Class".
    """
    return {key: transport.table for transport in MAIL_TRANSPORTS.values() if transport.table is not None
            for key in transport.keys if key not in MailTable.model_fields}


class MailTable(Table):
    """How messages are sent.

    If none of `host`, `provider` and `command` is set, messages are written to a Maildir.
    """

    from_: Address = Field("Pipeline <pipeline@localhost>", alias="from")
    """Sender of every message."""
    host: str | None = None
    """Host name of the mail server."""
    provider: str | None = None
    """Name of a known mail provider, which sets host, port and security."""
    command: tuple[str, ...] | None = None
    """A sendmail-compatible program with its options, which is used instead of a server. The program runs without a shell, gets the
    additional arguments `-i -f SENDER -- RECIPIENT…`, and reads the message from standard input."""
    port: int | None = Field(None, ge=1, le=65535)
    """Port of the mail server. The default depends on `security`."""
    security: Literal["tls", "starttls", "none"] | None = None
    """TLS from the start, STARTTLS, or no encryption. The default depends on `port`."""
    user: str | None = None
    """User name for the mail server."""
    password: Secret | None = None
    """Password for the mail server."""
    token_command: tuple[str, ...] | None = None
    """A program that prints an OAuth2 access token for `user`. The program runs at each login, without a shell."""
    oauth2: OAuth2Table | None = None
    """Access tokens from an OAuth2 server. The providers gmail, outlook and office365 have default URLs."""
    allow_plaintext_auth: bool = False
    """Whether a password or token may be sent without encryption."""
    ca_file: str | None = None
    """PEM file with additional certificate authorities to trust."""
    timeout: Duration = 60.0
    """How long to wait for each reply of the mail server."""
    reply_to: Address | None = None
    """Address for replies (Reply-To header)."""
    sender: Address | None = None
    """Address of the Sender header, if different from `from`."""
    envelope_from: Address | None = None
    """Address for bounces (MAIL FROM). The default is `from`."""
    per_hour: int | None = Field(None, ge=1)
    """Maximum number of messages in any hour. Further messages wait."""
    max_age: Duration = 5 * 86400.0
    """Maximum age of a message. An older message is parked: it is kept, but its delivery is not tried again."""
    max_attempts: int = Field(200, ge=1)
    """Maximum number of attempts to deliver a message. If the last attempt fails, the message is parked."""
    maildir: str = "mail"
    """Folder in data_dir to which messages are written as a Maildir, if none of `host`, `provider` and `command` is set."""
    dkim: DkimTable | None = None
    """The DKIM signature of messages, for mail servers that do not sign messages."""

    transport_options: SkipJsonSchema[dict[str, Any]] = Field(default_factory=dict, exclude=True)
    """The tables [mail.KEY] of registered transports, by key. The file has no key with the name transport_options."""

    @model_validator(mode="before")
    @classmethod
    def _set_transport_tables_aside(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "transport_options" in value:
            raise PydanticCustomError("mail", "transport_options is an unknown key")
        own = {key: value[key] for key in transport_tables() if key in value}
        return {key: given for key, given in value.items() if key not in own} | ({"transport_options": own} if own else {})

    @field_validator("transport_options", mode="before")
    @classmethod
    def _read_transport_tables(cls, value: dict[str, Any]) -> dict[str, Any]:
        models = transport_tables()
        read: dict[str, Any] = {}
        for key, given in value.items():
            adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, load(models[key])])  # type: ignore[misc, arg-type]
            read |= adapter.validate_python({key: given})  # validating a dict makes errors name the key
        return read

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(core_schema)
        for key, table in transport_tables().items():
            model = load(table)
            model.model_rebuild()
            handler.resolve_ref_schema(found)["properties"][key] = handler(model.__pydantic_core_schema__)
        return found

    @model_validator(mode="after")
    def _consistent(self) -> MailTable:
        self._check_one_transport()
        if self.provider is not None and self.provider not in MAIL_PROVIDERS:
            raise PydanticCustomError("mail", "no provider named {found}{hint}; known: {known}; for other providers, give `host`", {
                "found": repr(self.provider), "hint": nearest(self.provider, MAIL_PROVIDERS),
                "known": ", ".join(MAIL_PROVIDERS)})
        logins = [name for name in ("password", "token_command", "oauth2") if getattr(self, name) is not None]
        if len(logins) > 1:
            raise PydanticCustomError("mail", "give either `{one}` or `{other}`, not both", {"one": logins[0], "other": logins[1]})
        secret = "a password" if self.password is not None else "a token"
        logs_in = bool(logins)
        if logs_in and not self.user:
            raise PydanticCustomError("mail", "{secret} is set, but `user` is not; add `user`", {"secret": secret})
        if self.security == "none" and logs_in and not self.allow_plaintext_auth:
            raise PydanticCustomError("mail", "with security = \"none\", the {secret} would be sent without encryption; use \"tls\" or "
                                      "\"starttls\", or set allow_plaintext_auth = true", {"secret": secret.split()[1]})
        return self

    def _check_one_transport(self) -> None:
        given = [key for key in _transport_keys() if self._is_given(key)]
        if len(given) > 1:
            raise PydanticCustomError("mail", "give either `{one}` or `{other}`, not both", {"one": given[0], "other": given[1]})

    def _is_given(self, key: str) -> bool:
        return bool(getattr(self, key)) if key in type(self).model_fields else key in self.transport_options

    @model_validator(mode="after")
    def _known_token_server(self) -> MailTable:
        if self.oauth2 is None or (self.oauth2.token_url and self.oauth2.authorize_url and self.oauth2.scope):
            return self
        known = OAUTH2_PROVIDERS.get(self.provider or "")
        if known is None:
            raise PydanticCustomError("mail", "[mail.oauth2] needs `token_url`, `authorize_url` and `scope`, or provider = {known}",
                                      {"known": " | ".join(f'"{name}"' for name in OAUTH2_PROVIDERS)})
        given = {name: getattr(self.oauth2, name) for name in known if getattr(self.oauth2, name)}
        return self.model_copy(update={"oauth2": self.oauth2.model_copy(update=known | given)})

    @property
    def transport(self) -> str:
        """The name, in `pipeline.registry.MAIL_TRANSPORTS`, of the transport that these settings select."""
        return next((name for name, transport in MAIL_TRANSPORTS.items()
                     if any(map(self._is_given, transport.keys))),
                    DEFAULT_MAIL_TRANSPORT)

    @property
    def envelope_sender(self) -> str:
        """The address in MAIL FROM."""
        return self.envelope_from or self.from_


class AlertsTable(Table):
    """Mails about problems of spiders and digests."""

    to: tuple[Address, ...] = ()
    """Addresses that receive a mail when a problem starts and when the problem ends. By default no such mails are sent."""
    after: int = Field(3, ge=1)
    """Number of consecutive failures of a spider after which an alert is sent."""
    every: Duration = 5 * 60.0
    """Shortest time between two mails with alerts. The next mail reports every problem that started or ended in the meantime."""
    login_before: Duration = 3 * 86400.0
    """How long before the expiry of a login cookie an alert is sent; "0s" sends no such alert."""
    language: Language = "en"
    """Language of the alerts."""
    timezone: ZoneName | None = None
    """Time zone of the times in the mail. The default is the time zone of [pipeline]."""
    notify: tuple[Secret, ...] = ()
    """Secret references to the URLs of notification channels that get a short text of each alert, with or without a mail. Needs the extra
    `channels`."""

    def zone(self, default: ZoneInfo) -> ZoneInfo:
        """Return the time zone of the alerts, or `default` if they have none."""
        return ZoneInfo(self.timezone) if self.timezone else default
