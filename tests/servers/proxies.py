"""Real proxies on free loopback ports.

HTTP and HTTPS by proxy.py, squid and tinyproxy, SOCKS5 by microsocks.

All but proxy.py connect to sites from the address OUTGOING, which nothing else does: a site's log tells who came by them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import free_port

OUTGOING = "127.0.0.2"


@contextmanager
def start_http_proxy(credentials: str = "", *, cert: Path | None = None, key: Path | None = None) -> Iterator[str]:
    """An HTTP proxy with CONNECT; over TLS with a certificate. credentials: "user:password". Yields host:port.

    It adds a Via header to the first plain request of a connection, so that a site's log tells who came through it.
    """
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "proxy", "--hostname", "127.0.0.1", "--port", str(port),
               "--num-workers", "1", "--num-acceptors", "1", "--threaded", "--log-level", "ERROR"]
    if credentials:
        command += ["--basic-auth", credentials]
    if cert is not None:
        command += ["--cert-file", str(cert), "--key-file", str(key)]
    with running(command, port):
        yield f"127.0.0.1:{port}"


@contextmanager
def start_squid(user: str, password: str) -> Iterator[str]:
    """The proxy squid, which moves files fast and asks for a password. Yields host:port."""
    port = free_port()
    auth_program = next(path for folder in ("lib", "lib64", "libexec")
                  for path in Path("/usr", folder).glob("squid*/basic_ncsa_auth"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # squid started by root becomes another user
        digest = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password, text=True, check=True,
                                capture_output=True).stdout.strip()
        (folder / "users").write_text(f"{user}:{digest}\n")
        (folder / "users").chmod(0o644)
        (folder / "squid.conf").write_text(f"""
            http_port 127.0.0.1:{port}
            pid_filename none
            access_log none
            cache_log /dev/null
            cache_store_log none
            coredump_dir {folder}
            cache deny all
            tcp_outgoing_address {OUTGOING}
            shutdown_lifetime 0 seconds
            visible_hostname test
            pinger_enable off
            max_filedescriptors 1024
            auth_param basic program {auth_program} {folder}/users
            acl known proxy_auth REQUIRED
            http_access allow known
            http_access deny all
            """.replace("\n            ", "\n"))
        with running(["squid", "-N", "-f", str(folder / "squid.conf")], port):
            yield f"127.0.0.1:{port}"


@contextmanager
def start_tinyproxy(user: str, password: str) -> Iterator[str]:
    """The proxy tinyproxy; yields host:port. Version 1.11 drops all Set-Cookie headers of an answer but one."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        configuration = Path(name, "tinyproxy.conf")
        configuration.write_text(f"Port {port}\nListen 127.0.0.1\nBind {OUTGOING}\nBasicAuth {user} {password}\n"
                                 f"LogFile \"{name}/log\"\nPidFile \"{name}/pid\"\nMaxClients 100\n")
        with running(["tinyproxy", "-d", "-c", str(configuration)], port):
            yield f"127.0.0.1:{port}"


@contextmanager
def start_socks_proxy(user: str = "", password: str = "") -> Iterator[str]:
    """A SOCKS5 proxy; with a user it wants him and his password. Yields host:port."""
    port = free_port()
    command = ["microsocks", "-i", "127.0.0.1", "-p", str(port), "-b", OUTGOING]
    if user:
        command += ["-u", user, "-P", password]
    with running(command, port):
        yield f"127.0.0.1:{port}"


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """A program that listens on `port`; the block begins when it does, and ends it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_until_up(process, port)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it keeps nothing, and asked to end it would take up to a second
        process.wait(10)


def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.02)  # between two tries of a deadline loop
        else:
            return
    raise RuntimeError(f"nothing listens on port {port}")
