"""A heartbeat as the settings want it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from pipeline.heartbeat.access import Access, kept_token, networks
from pipeline.heartbeat.connections.limits import Limits
from pipeline.heartbeat.http.actions import Desk
from pipeline.heartbeat.listeners import link, server_tls, socket_path
from pipeline.heartbeat.server import Heartbeat
from pipeline.heartbeat.snapshot.cache import Answers
from pipeline.heartbeat.snapshot.loop_health import Thresholds
from pipeline.heartbeat.snapshot.write_probe import Probe
from pipeline.settings import Settings
from pipeline.settings.fields.scalars import is_loopback
from pipeline.store import Store
from pipeline.store.health import write_probe

_log = logging.getLogger("pipeline")


def _now() -> datetime:
    return datetime.now(UTC)


def heartbeat_of(settings: Settings, store: Store, answer: Answers, desk: Desk, *, version: str,
                 clock: Callable[[], datetime] = _now) -> Heartbeat:
    """Not yet started. Raises HeartbeatError when token or certificate cannot be had."""
    table = settings.heartbeat
    return Heartbeat(
        host=table.host, port=table.port if table.on_port else None, answer=answer, zone=settings.zone, version=version,
        udp=table.udp, names=table.names,
        limits=Limits(connections=table.max_connections, per_address=table.max_connections_per_address),
        access=Access(kept_token(settings.data_dir), networks(table.allow), table.open_status), desk=desk,
        tls=server_tls(settings), socket_path=socket_path(settings),
        probe=Probe(lambda: write_probe.write_pulse(store, now=clock())),
        thresholds=Thresholds(table.lag_after, table.jump_after, table.write_after), clock=clock)


def announce(settings: Settings, heartbeat: Heartbeat, *, on_terminal: bool) -> None:
    """Log where it answers, and what should be thought twice about. The link only where a person reads it."""
    table = settings.heartbeat
    path = socket_path(settings)
    if path is not None:
        _log.info("heartbeat on the Unix socket %s", path)
    if table.on_port:
        host, port = heartbeat.address
        scheme = "https" if table.certificate is not None else "http"
        _log.info("heartbeat on %s://%s:%d, and for lines: printf 'status\\nquit\\n' | nc %s %d", scheme, host, port, host,
                  port)
        if on_terminal:
            _log.info("pages: %s", link(settings, kept_token(settings.data_dir), port))
        if not is_loopback(table.host):
            _warn_of_strangers(settings)


def _warn_of_strangers(settings: Settings) -> None:
    table = settings.heartbeat
    if table.open_status:
        _log.warning("heartbeat: open_status = true: whoever reaches %s:%d reads status and metrics without a token",
                     table.host, table.port)
    if table.certificate is None:
        _log.warning("heartbeat: other machines reach it without TLS (allow_plain = true), so the token can be read on the "
                     "way; set certificate and key where that matters")
