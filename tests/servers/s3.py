"""An S3 server (s3_program) as a process of its own, and a relay in front of it.

The relay can fail in every way a network can.

    with S3Server() as s3:
        s3.environment()        # AWS_* variables for a program
        with s3.failing("refuse"):
            ...                 # connections are refused; the objects are still there afterwards
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import Literal, Self
from urllib.parse import quote

import requests

from tests.servers.ports import free_port
from tests.servers.program import ROOT, eventually

Fault = Literal["refuse", "hang", "503", "cut"]
ACCESS_KEY, SECRET_KEY = "AKIATESTTESTTEST", "geheimer-schluessel-des-objektspeichers"
_ANSWER_503 = (b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 65\r\nConnection: close\r\n\r\n"
               b"<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>")
_CUT_AFTER = 64 * 1024
_LISTED = re.compile(r"<Key>(.*?)</Key>.*?<ETag>(.*?)</ETag>", re.DOTALL)


class S3Server:
    """A started server with one empty bucket. host: the address it listens on. options: of s3_program.

    `url` is the address of the relay. Objects live in the memory of its process and are lost with it, so that faults are the relay's.
    """

    def __init__(self, host: str = "127.0.0.1", bucket: str = "files", *options: str) -> None:
        self.bucket = bucket
        self._behind = (host, free_port())
        self._server = subprocess.Popen([sys.executable, "-m", "tests.servers.s3_program", host, str(self._behind[1]), *options], cwd=ROOT,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, within_s=60)
        self._relay = _Relay(host, self._behind)
        self.url = f"http://{host}:{self._relay.port}"

    def _answers(self) -> bool:
        assert self._server.poll() is None, "the S3 server has ended"
        try:
            self._ask("PUT", "")
        except requests.ConnectionError:
            return False
        return True

    @property
    def connections(self) -> int:
        """The number of connections that the relay has accepted."""
        return self._relay.accepted

    @property
    def traffic(self) -> int:
        """The number of pieces of requests and answers that the relay has passed on."""
        return self._relay.passed

    def environment(self) -> dict[str, str]:
        """What a program finds in its environment."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1"}

    def storage(self, prefix: str = "") -> str:
        """A value for [pipeline] storage."""
        return f"s3://{self.bucket}/{prefix}".rstrip("/")

    @contextlib.contextmanager
    def failing(self, fault: Fault, *, times: int = 1_000_000_000) -> Iterator[None]:
        """Fail the next connections, and cut those that are open.

        refuse: nobody listens. hang: accepted, never answered. 503: "SlowDown". cut: closed after 64 KiB of the request or the answer.
        times: how many connections fail; the following ones work.
        """
        self.fail(fault, times=times)
        try:
            yield
        finally:
            self._relay.work()

    def fail(self, fault: Fault, *, times: int = 1_000_000_000) -> None:
        """Fail the next connections until `resume`, as `failing` says."""
        self._relay.fail(fault, times)

    def stop(self) -> None:
        """Refuse all connections until `resume`. The objects stay."""
        self.fail("refuse")

    def resume(self) -> None:
        self._relay.work()

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object whose key begins with `prefix`, by its key, read past the relay."""
        found: dict[str, bytes] = {}
        after = ""
        while True:
            listed = self._ask("GET", "", {"list-type": "2", "start-after": after, "prefix": prefix}).decode()
            names = [unescape(part.partition("</Key>")[0]) for part in listed.split("<Key>")[1:]]
            found |= {name: self._ask("GET", name) for name in names}
            if "<IsTruncated>true" not in listed:
                return found
            after = names[-1]

    def put(self, key: str, content: bytes) -> None:
        """Store an object past the relay."""
        self._ask("PUT", key, content=content)

    def delete(self, key: str) -> None:
        """Delete an object past the relay."""
        self._ask("DELETE", key)

    def checksums(self, prefix: str = "") -> dict[str, str]:
        """The MD5 of every object whose key begins with `prefix`, by its key: of those that were stored by one request."""
        found: dict[str, str] = {}
        after = ""
        while True:
            listed = self._ask("GET", "", {"list-type": "2", "start-after": after, "prefix": prefix}).decode()
            found |= {unescape(key): unescape(tag).strip('"') for key, tag in _LISTED.findall(listed)}
            if "<IsTruncated>true" not in listed:
                return found
            after = max(found)

    def restore(self, objects: Mapping[str, bytes]) -> None:
        """Make these all objects that there are, by writing and deleting only those that differ."""
        found = self.checksums()
        for key in found.keys() - objects.keys():
            self.delete(key)
        for key, content in objects.items():
            if found.get(key) != hashlib.md5(content, usedforsecurity=False).hexdigest():
                self.put(key, content)

    def empty(self) -> None:
        """Remove every object, for the next test."""
        for key in self.objects():
            self.delete(key)

    def _ask(self, method: str, key: str, query: dict[str, str] | None = None, content: bytes | None = None) -> bytes:
        answer = requests.request(method, f"http://{self._behind[0]}:{self._behind[1]}/{self.bucket}/{quote(key)}".rstrip("/"), params=query,
                                  data=content, headers={"Authorization": f"AWS {ACCESS_KEY}:unchecked"}, timeout=30)
        answer.raise_for_status()
        return answer.content

    def close(self) -> None:
        self._relay.close()
        self._server.send_signal(signal.SIGKILL)
        self._server.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Relay:
    """Passes bytes between clients and the server behind it, or fails as told."""

    def __init__(self, host: str, behind: tuple[str, int]) -> None:
        self._behind = behind
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._times = 0
        self._open: set[socket.socket] = set()
        self._closed = False
        self.accepted = self.passed = 0
        self._address = (host, free_port())
        self.port = self._address[1]
        self._listener: socket.socket | None = None
        self._listen()

    def _listen(self) -> None:
        listener = self._listener = socket.create_server(self._address, backlog=128)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._lock:
                    self.accepted += 1
                    self._open.add(connection)
                    fault = self._fault
                    if fault is not None:
                        self._times -= 1
                        if self._times <= 0:
                            self._fault = None
                threading.Thread(target=self._serve, args=(connection, fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: Fault | None) -> None:
        try:
            with client, contextlib.suppress(OSError):
                if fault == "hang":
                    while client.recv(1 << 20):
                        pass
                elif fault == "503":
                    _read_request(client)
                    client.sendall(_ANSWER_503)
                else:
                    with socket.create_connection(self._behind) as server:
                        _pass_on(client, server, _CUT_AFTER if fault == "cut" else None, self._count)
        finally:
            with self._lock:
                self._open.discard(client)

    def _count(self) -> None:
        with self._lock:
            self.passed += 1

    def fail(self, fault: Fault, times: int) -> None:
        with self._lock:
            self._fault, self._times = (None if fault == "refuse" else fault), times
            if fault == "refuse" and self._listener is not None:
                self._stop_listening()
            self._cut_open()

    def work(self) -> None:
        with self._lock:
            self._fault = None
            self._cut_open()
            if self._listener is None and not self._closed:
                self._listen()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _cut_open(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stop_listening()
            self._cut_open()


def _read_request(client: socket.socket) -> None:
    """Read the head of a request, and of its body what has arrived."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(65536)
        if not more:
            return
        head += more


def _pass_on(client: socket.socket, server: socket.socket, most: int | None, count: Callable[[], None]) -> None:
    """Pass bytes both ways until one side closes. most: after how many bytes one way both connections are closed."""
    passed = {client: 0, server: 0}
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(1 << 18)
                passed[source] += len(data)
                if not data or (most is not None and passed[source] > most):
                    return
                key.data.sendall(data)
                count()
