"""Creates the heartbeat server from the settings, and logs the addresses that the server listens on."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from datetime import datetime

from pipeline.heartbeat.access import AccessPolicy, parse_networks
from pipeline.heartbeat.addresses import base_url, pages_url, socket_path
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.listeners import ListenOptions, tls_context
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.server import HeartbeatServer, ServiceInfo, utc_now
from pipeline.heartbeat.snapshot.cache import HealthChecks, SnapshotSource
from pipeline.heartbeat.snapshot.loop_health import HealthThresholds
from pipeline.heartbeat.snapshot.write_probe import WriteProbe
from pipeline.heartbeat.token import load_or_create_token
from pipeline.hosts import host_of
from pipeline.settings import Settings
from pipeline.settings.fields.scalars import is_loopback
from pipeline.settings.models.heartbeat import HIDDEN_CLIENTS, HIDDEN_CLIENTS_FIX, HeartbeatTable
from pipeline.store import Store
from pipeline.store.health import write_probe

_log = logging.getLogger("pipeline")


def server_from_settings(settings: Settings, store: Store, source: SnapshotSource, actions: OperationsContext, *, version: str,
                         clock: Callable[[], datetime] = utc_now, not_ready: Callable[[], str] = str) -> HeartbeatServer:
    """Create a heartbeat server from the settings, without starting the server.

    not_ready: see ServiceInfo. Raises HeartbeatError when the token or the certificate cannot be read.
    """
    table = settings.heartbeat
    return HeartbeatServer(
        source,
        ListenOptions(table.host, table.port if table.on_port else None, table.udp, socket_path(settings),
                      tls_context(settings), _host_names(table)),
        limits=ServerLimits(connections=table.max_connections, per_address=table.max_connections_per_address),
        access=AccessPolicy(load_or_create_token(settings.data_dir), parse_networks(table.allow), table.open_status,
                            parse_networks(table.trusted_proxies), table.public_url or ""),
        actions=actions,
        checks=HealthChecks(WriteProbe(lambda: write_probe.write_pulse(store, now=clock())),
                            HealthThresholds(table.lag_after, table.jump_after, table.write_after), _storage_probe(store)),
        service=ServiceInfo(version, settings.zone, clock, not_ready))


def _storage_probe(store: Store) -> WriteProbe | None:
    """Return a probe that asks the object store for an object every 30 seconds; None if files are in data_dir."""
    if not store.files.is_remote:
        return None
    return WriteProbe(lambda: store.files.quick.exists(".probes/status"), every_s=30.0, what="a request to the object store")


def _host_names(table: HeartbeatTable) -> tuple[str, ...]:
    """Return the host names under which browsers may reach the server: those in the settings, and the one of `public_url`."""
    return (*table.names, *filter(None, (host_of(table.public_url or ""),)))


def log_addresses(settings: Settings, server: HeartbeatServer, *, on_terminal: bool) -> None:
    """Log the addresses that the server listens on, and warn about insecure settings.

    on_terminal: whether the log is shown on a terminal; if not, the URL is logged without the token, because others may read the log.
    """
    table = settings.heartbeat
    path = socket_path(settings)
    if path is not None:
        _log.info("the heartbeat listens on the Unix socket %s", path)
    if table.on_port:
        host, port = server.address
        scheme = "https" if table.certificate is not None else "http"
        _log.info("the heartbeat listens on %s://%s:%d; to read the status as text: printf 'status\\nquit\\n' | nc %s %d", scheme, host, port, host,
                  port)
        if on_terminal:
            _log.info("to see the status in a browser, open %s", pages_url(settings, load_or_create_token(settings.data_dir), port))
        else:
            option = f" --settings {shlex.quote(settings.file)}" if settings.file != "settings.toml" else ""
            _log.info("to see the status in a browser, open %s; `pipeline url%s` prints this link with the token that all pages need",
                      base_url(settings, port), option)
        if table.hides_clients:
            _log.warning("heartbeat: %s; %s", HIDDEN_CLIENTS, HIDDEN_CLIENTS_FIX)
        if not is_loopback(table.host):
            _warn_of_remote_access(settings)


def _warn_of_remote_access(settings: Settings) -> None:
    table = settings.heartbeat
    if table.open_status:
        _log.warning("heartbeat: with open_status = true, any machine that can connect to %s:%d may read the status and the metrics "
                     "without a token", table.host, table.port)
    if table.certificate is None:
        _log.warning("heartbeat: with allow_plain = true, other machines connect without TLS, and anyone on the network can read the "
                     "token; set `certificate` and `key` to use TLS")
