"""[heartbeat]: where the heartbeat server listens, who may connect, and when the status is degraded."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import (
    Duration,
    HttpUrl,
    Network,
    Secret,
    Size,
    Table,
    https_or_loopback,
    is_loopback,
)


class HeartbeatTable(Table):
    host: str = "127.0.0.1"
    """Any other address needs allow_remote = true."""
    port: int = Field(8000, ge=0, le=65535)
    socket: str | None = None
    """A Unix socket instead of the port; beside it when `host` is given, too. Relative to settings.toml."""
    udp: bool = False
    """Answers datagrams on the same port number, too."""
    names: tuple[str, ...] = ()
    """Host names by which browsers may reach it, beside addresses, localhost and `host`."""
    allow_remote: bool = False
    """Other machines may reach it. They need the token (`pipeline url`) for everything but /livez and echoes."""
    allow_plain: bool = False
    """Other machines reach it without TLS, so that the token can be read on the way. Something else protects that."""
    open_status: bool = False
    """Other machines need no token for status, health and metrics. Pages and actions always need it."""
    allow: tuple[Network, ...] = ()
    """Networks that may connect, such as "10.0.0.0/8"; this machine always may. Without it: all."""
    certificate: str | None = None
    """PEM file with the certificate and its chain; the port then speaks TLS only."""
    key: str | None = None
    """PEM file of its private key, unless `certificate` has both."""
    max_connections: int = Field(512, ge=1, le=65535)
    max_connections_per_address: int | None = Field(None, ge=1, le=65535)
    """Of one address of another machine (or one /64 of IPv6); by default a quarter. A proxy in front needs more."""
    late_after: Duration | None = None
    """How long after its slot a spider without a success is late; by default half the time to the next slot,
    from a minute to an hour."""
    outbox_after: Duration = 15 * 60.0
    """A message that waits longer is a reason to be degraded."""
    disk_below: Size | None = Field(None, validate_default=False)
    """Less free disk is a reason to be degraded; by default pipeline.keep_free, where downloads stop."""
    lag_after: Duration = 5.0
    """The service's loop held up for longer is a reason to be degraded."""
    jump_after: Duration = 5.0
    """A wall clock that jumped by more is a reason to be degraded."""
    write_after: Duration = 15.0
    """A database that does not take a write for longer is failing."""
    beat: Secret | HttpUrl | None = None
    """A dead-man's switch told every minute that the pipeline does its work, or why it does not. https."""
    beat_every: Duration = 60.0

    @field_validator("beat")
    @classmethod
    def _beat_is_https(cls, value: str | Secret | None) -> str | Secret | None:
        return https_or_loopback(value)

    @model_validator(mode="after")
    def _reachable_on_purpose(self) -> HeartbeatTable:
        if not self.allow_remote and not is_loopback(self.host):
            raise PydanticCustomError("heartbeat", "host = {host} lets other machines reach it; set allow_remote = true "
                                      "if that is meant, or host = \"127.0.0.1\"", {"host": f'"{self.host}"'})
        if self.key is not None and self.certificate is None:
            raise PydanticCustomError("heartbeat", "a key needs its certificate")
        if self.certificate is None and not self.allow_plain and not is_loopback(self.host):
            raise PydanticCustomError("heartbeat", "host = {host} without TLS lets the token be read on the way; set certificate "
                                      "and key, or allow_plain = true if the network in between is trusted",
                                      {"host": f'"{self.host}"'})
        return self

    @property
    def on_port(self) -> bool:
        """Whether it listens on TCP: always, but where there is a Unix socket and no word of a host."""
        return self.socket is None or "host" in self.model_fields_set
