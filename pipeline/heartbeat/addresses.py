"""The addresses of the heartbeat for clients on this machine: host, Unix socket, URL of the pages."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from pipeline.heartbeat.token import Token
from pipeline.settings import Settings
from pipeline.settings.fields.scalars import is_loopback

_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  read, not listened on


def socket_path(settings: Settings) -> Path | None:
    return settings.folder / settings.heartbeat.socket if settings.heartbeat.socket is not None else None


def connectable_host(host: str) -> str:
    """Return the host to which clients on this machine connect, such as 127.0.0.1 for 0.0.0.0.

    host: the host on which the service listens.
    """
    return _ANY.get(host, host)


def pages_url(settings: Settings, token: Token, port: int | None = None) -> str:
    """Return the URL of the overview page, with the token as a parameter. port: see base_url."""
    return f"{base_url(settings, port)}?token={quote(token.reveal())}"


def base_url(settings: Settings, port: int | None = None) -> str:
    """Return the URL of the overview page, without a token: under `public_url` if it is set.

    port: the port that the server listens on; None means the port in the settings. The port in the settings must not be
    0 in this case, because 0 means any free port.
    """
    table = settings.heartbeat
    if table.public_url is not None:
        return f"{table.public_url}/"
    host = next(iter(table.names), connectable_host(table.host)) if not is_loopback(table.host) else table.host
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if table.certificate is not None else "http"
    return f"{scheme}://{shown}:{port or table.port}/"
