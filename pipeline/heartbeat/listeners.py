"""The ways in beside a plain port: TLS with a certificate of the user's own, a Unix socket, and the link to open."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import HeartbeatError
from pipeline.heartbeat.access import Token
from pipeline.settings import Settings
from pipeline.settings.fields.scalars import is_loopback

_BACKLOG = 1024
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  read, not listened on


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 and newer with the certificate of the settings; None without one. Raises HeartbeatError."""
    table = settings.heartbeat
    if table.certificate is None:
        return None
    certificate = settings.folder / table.certificate
    key = settings.folder / table.key if table.key is not None else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # A key with a passphrase would have OpenSSL ask on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except FileNotFoundError as error:
        raise HeartbeatError("certificate or key cannot be found", where=f"{certificate}, {key or certificate}",
                             fix="correct [heartbeat] certificate and key") from error
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise HeartbeatError(f"certificate and key cannot be used: {error}", where=f"{certificate}, {key or certificate}",
                             fix="both must be PEM, belong together, and the key have no passphrase") from error
    return context


def socket_path(settings: Settings) -> Path | None:
    return settings.folder / settings.heartbeat.socket if settings.heartbeat.socket is not None else None


def listen_on(path: Path) -> socket.socket:
    """A Unix socket only its owner may use; one left behind by a process that is gone is replaced.

    Raises HeartbeatError.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_stale(path)
        mask = os.umask(0o177)  # there is no moment at which others may connect
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise HeartbeatError(f"cannot be listened on: {error.strerror or error}", where=str(path),
                             fix="set [heartbeat] socket = … to a shorter or another path") from error
    except HeartbeatError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise HeartbeatError("is there and is no socket", where=str(path), fix="set [heartbeat] socket = … elsewhere")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise HeartbeatError("somebody answers on it already", where=str(path), fix="stop the other service")


def near(host: str) -> str:
    """The address to reach, from this machine, a service that listens on `host`."""
    return _ANY.get(host, host)


def link(settings: Settings, token: Token, port: int | None = None) -> str:
    """The address that opens the pages. port: the real one, where the settings say 0."""
    table = settings.heartbeat
    host = next(iter(table.names), near(table.host)) if not is_loopback(table.host) else table.host
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if table.certificate is not None else "http"
    return f"{scheme}://{shown}:{port or table.port}/?token={quote(token.reveal())}"
