"""Binds the TCP, UDP and Unix sockets that the heartbeat listens on, and creates the TLS context."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import HeartbeatError
from pipeline.settings import Settings

BACKLOG = 4096  # a client that finds this queue full connects late: its kernel retries after one second, then after three
_UNIX_BACKLOG = 1024


@dataclass(frozen=True)
class ListenOptions:
    """The addresses that the server listens on.

    port: the TCP port; 0 means any free port, None means no TCP port. udp: whether to answer UDP datagrams on the same
    port number as well. socket_path: path of the Unix socket; None means no Unix socket. tls: TLS context for the TCP
    port; None means no encryption. host_names: names that the Host header of an HTTP request may contain, besides IP
    addresses and localhost.
    """

    host: str = "127.0.0.1"
    port: int | None = 8000
    udp: bool = False
    socket_path: Path | None = None
    tls: ssl.SSLContext | None = None
    host_names: tuple[str, ...] = ()


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return a context for TLS 1.2 and newer with the configured certificate; None if none is configured.

    Raises HeartbeatError when the certificate or the key cannot be used.
    """
    table = settings.heartbeat
    if table.certificate is None:
        return None
    certificate = settings.folder / table.certificate
    key = settings.folder / table.key if table.key is not None else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # Without this callback OpenSSL would ask for a key's passphrase on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except FileNotFoundError as error:
        raise HeartbeatError("the certificate or key file is missing", where=f"{certificate}, {key or certificate}",
                             fix="correct `certificate` and `key` in [heartbeat]") from error
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        other = getattr(error, "reason", "") == "KEY_VALUES_MISMATCH"
        raise HeartbeatError("the key does not belong to the certificate" if other else f"the certificate and key cannot be used: {error}", where=f"{certificate}, {key or certificate}",
                             fix="use PEM files, a key that belongs to the certificate, and a key without a passphrase") from error
    return context


async def bind_tcp(options: ListenOptions, *, receive_buffer_bytes: int) -> list[socket.socket]:
    """Return a listening socket for each address of the configured host, all with the same port number.

    Raises HeartbeatError when an address cannot be bound.
    """
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            options.host or None, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        port = options.port or 0
        for family, _, _, _, address in dict.fromkeys(found):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)  # accepted sockets inherit this size
            sock.bind((address[0], port, *address[2:]))
            port = sock.getsockname()[1]
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise _bind_error(options, error) from error
    return sockets


def bind_udp(options: ListenOptions, listening: socket.socket) -> socket.socket:
    """Return a UDP socket on the address and port of a listening TCP socket.

    This function binds the socket itself, because uvloop does not report why binding a socket fails. Raises
    HeartbeatError.
    """
    sock = socket.socket(listening.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if listening.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(listening.getsockname())
    except OSError as error:
        sock.close()
        raise _bind_error(options, error, " (UDP)") from error
    return sock


def _bind_error(options: ListenOptions, error: OSError, kind: str = "") -> HeartbeatError:
    host, port = options.host, options.port
    if error.errno == errno.EADDRINUSE:
        return HeartbeatError(f"port {port} on {host} is in use{kind}", where="heartbeat",
                              fix="stop the other program, or set another [heartbeat] port in settings.toml")
    if error.errno == errno.EACCES:
        return HeartbeatError(f"only a privileged user may listen on port {port} of {host}{kind}", where="heartbeat",
                              fix="set [heartbeat] port to a number above 1023 in settings.toml")
    reason = error.strerror or (os.strerror(error.errno) if error.errno else "no such address")
    return HeartbeatError(f"the heartbeat cannot listen on {host}, port {port}{kind}: {reason}", where="heartbeat",
                          fix="set [heartbeat] host in settings.toml to an address of this machine")


def bind_unix_socket(path: Path) -> socket.socket:
    """Return a listening Unix socket that only the socket's owner may use.

    If a process that no longer runs left a socket file behind, the file is replaced. Raises HeartbeatError.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_stale(path)
        mask = os.umask(0o177)  # makes bind() create a socket to which no other user may connect
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        sock.listen(_UNIX_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise HeartbeatError(f"the heartbeat cannot listen on this Unix socket: {error.strerror or error}", where=str(path),
                             fix="set [heartbeat] socket in settings.toml to a shorter path, or to a path in another folder") from error
    except HeartbeatError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise HeartbeatError("the file exists and is not a socket", where=str(path),
                                 fix="set [heartbeat] socket in settings.toml to another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise HeartbeatError("another process is already listening on this socket", where=str(path), fix="stop that process")
