"""[heartbeat]: where the heartbeat server listens, who may connect, and when the status is degraded."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import (
    Duration,
    HttpUrl,
    Network,
    Size,
    Table,
    https_or_loopback,
    is_local,
    is_loopback,
)
from pipeline.settings.fields.secret import Secret

HIDDEN_CLIENTS = ("public_url is https and the port speaks no TLS, so a proxy is in front of it, and trusted_proxies does not name it: all people behind it "
                  "count as one client, and need no token for the status if it writes no X-Forwarded-For")
HIDDEN_CLIENTS_FIX = "set trusted_proxies to the address of the proxy, such as [\"127.0.0.1\"], and let it write X-Forwarded-For and X-Forwarded-Proto"


class HeartbeatTable(Table):
    """The heartbeat server: where it listens, who may connect, and when the status is degraded."""

    host: str = "127.0.0.1"
    """Address to listen on. An address other than loopback needs `allow_remote = true`."""
    port: int = Field(8000, ge=0, le=65535)
    """TCP port to listen on; 0 chooses a free port."""
    socket: str | None = None
    """Path of a Unix socket, which is used instead of the port. If `host` is set, the server listens on both."""
    udp: bool = False
    """Whether the server also answers UDP datagrams that arrive at the same port number."""
    names: tuple[str, ...] = ()
    """Host names under which browsers may reach the server, in addition to IP addresses, localhost and `host`."""
    public_url: HttpUrl | None = None
    """URL under which people reach the pages from other machines, such as "https://pipeline.example.com". Mails link to stored files
    and to pages under this URL; no link contains the token."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses of reverse proxies, such as "127.0.0.1" or "10.0.0.5". The client of a request is then the one that the proxy writes into
    X-Forwarded-For, and X-Forwarded-Proto says whether it uses TLS."""
    session_idle: Duration = 7 * 86400.0
    """A browser must sign in again after this time without a request."""
    session_max: Duration = 30 * 86400.0
    """A browser must sign in again after this time at the latest."""
    allow_remote: bool = False
    """Whether other machines may connect. Except for /livez and echoes, other machines need the token (`pipeline url`)."""
    allow_plain: bool = False
    """Whether other machines may connect without TLS. Anyone on the network in between can then read the token."""
    open_status: bool = False
    """Whether other machines may read status, health and metrics without the token. Web pages and actions always need the token."""
    allow: tuple[Network, ...] = ()
    """Networks that may connect, such as "10.0.0.0/8"; all networks by default. This machine may always connect."""
    certificate: str | None = None
    """PEM file with the TLS certificate and its chain. The port then accepts only TLS."""
    key: str | None = None
    """PEM file with the private key, if `certificate` does not contain the key."""
    max_connections: int = Field(512, ge=1, le=65535)
    """Maximum number of connections at the same time."""
    max_connections_per_address: int | None = Field(None, ge=1, le=65535)
    """Maximum number of connections from one remote IPv4 address or IPv6 /64. The default is a quarter of max_connections. Behind a
    reverse proxy, all clients have the address of the proxy."""
    api_rate: float = Field(20.0, ge=0, le=10000)
    """Requests per second that each API token may send; three times as many at once. 0 means no limit."""
    late_after: Duration | None = None
    """How long after the due time of a slot its spider is late, unless a run has succeeded by then. The default is half the time to
    the next slot, but at least a minute and at most an hour."""
    outbox_after: Duration = 15 * 60.0
    """The status is degraded if a message has waited longer than this."""
    disk_below: Size | None = Field(None, validate_default=False)
    """The status is degraded if less disk space is free than this. The default is pipeline.keep_free."""
    lag_after: Duration = 5.0
    """The status is degraded if the service's event loop was blocked for longer than this."""
    jump_after: Duration = 5.0
    """The status is degraded if the system clock jumped by more than this."""
    write_after: Duration = 15.0
    """The status is failing if a write to the database takes longer than this."""
    beat: Secret | HttpUrl | None = None
    """An https URL of an external monitor (dead man's switch). The service reports to this URL that the pipeline works, or why it
    does not work."""
    beat_every: Duration = 60.0
    """Time between two reports to `beat`."""

    @field_validator("beat")
    @classmethod
    def _beat_is_https(cls, value: str | Secret | None) -> str | Secret | None:
        return https_or_loopback(value)

    @field_validator("public_url")
    @classmethod
    def _public_url_is_an_origin(cls, value: str | None) -> str | None:
        """Return the URL without a slash at its end."""
        if value is None:
            return None
        parts = urlsplit(value)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise PydanticCustomError("url", "the URL must not contain a user name, a password, a query or a fragment: it is in mails, and people open the "
                                      "pages with the token that `pipeline url` prints")
        if parts.path.strip("/"):
            raise PydanticCustomError("url", "the URL must not contain a path, because the pages are at the root of their server; write {meant}",
                                      {"meant": f'"{parts.scheme}://{parts.netloc}"'})
        if parts.scheme != "https" and not is_local(parts.hostname or ""):
            raise PydanticCustomError("url", "the URL must use https, because people send the token to it; http is possible only in a local network")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            if network.endswith("/0"):
                raise PydanticCustomError("proxies", "{network} is every address: any client could then claim any address; name the addresses of the "
                                          "proxies", {"network": f'"{network}"'})
        return value

    @model_validator(mode="after")
    def _reachable_on_purpose(self) -> HeartbeatTable:
        if not self.allow_remote and not is_loopback(self.host):
            raise PydanticCustomError("heartbeat", "host = {host} lets other machines connect; set allow_remote = true "
                                      "to allow this, or host = \"127.0.0.1\"", {"host": f'"{self.host}"'})
        if self.key is not None and self.certificate is None:
            raise PydanticCustomError("heartbeat", "`key` can be used only together with `certificate`")
        if self.certificate is None and not self.allow_plain and not is_loopback(self.host):
            raise PydanticCustomError("heartbeat", "host = {host} without TLS lets others on the network read the token; set `certificate` "
                                      "and `key`, or set allow_plain = true if you trust the network",
                                      {"host": f'"{self.host}"'})
        return self

    def page_url(self, path: str) -> str:
        """Return the URL of a page for people on other machines; "" if `public_url` is not set. path: path of the page, with "/" first."""
        return f"{self.public_url}{quote(path)}" if self.public_url is not None else ""

    def file_url(self, key: str) -> str:
        """Return the URL under which the pages offer a stored file; "" if `public_url` is not set. key: key of the file in the file store."""
        return self.page_url(f"/files/{key}")

    @property
    def hides_clients(self) -> bool:
        """Whether people reach the port through a proxy that `trusted_proxies` does not name: the public URL needs TLS, which the port does not speak."""
        return self.on_port and self.certificate is None and not self.trusted_proxies and (self.public_url or "").startswith("https:")

    @property
    def on_port(self) -> bool:
        """Whether the server listens on TCP: always, unless `socket` is set and `host` is not set."""
        return self.socket is None or "host" in self.model_fields_set
