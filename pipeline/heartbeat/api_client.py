"""A client of the API of this machine's service, whose data_dir and version it verifies first."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, NoReturn

from pipeline.errors import HeartbeatError, PipelineError, StoreError, UsageError
from pipeline.heartbeat.addresses import connectable_host, socket_path
from pipeline.heartbeat.client import trust_own_certificate
from pipeline.heartbeat.service_socket import ANSWER_S, connected_socket
from pipeline.heartbeat.token import Token, same_secret
from pipeline.settings import Settings

ACT_S = 90.0
"""How long an action may take: the longest one fetches a page."""
IDLE_S = 2.0
"""After this time without a request, the client connects again."""
WAIT_S = 60.0
"""How long to wait in all while the service says that it is busy, or still performs the first request with the same key."""
_LONGEST_ANSWER = 16 * 2**20
_API = "/api/v1"
_ERRORS: dict[str, type[PipelineError]] = {"conflict": UsageError, "store": StoreError, "not-possible": PipelineError, "not-found": UsageError}


@dataclass(frozen=True)
class Answer:
    """The response to an action. document: its JSON. problem: the name of the problem; "" if the action was performed."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        return str(self.document.get("type", "")).rpartition("#")[2] if self.status >= 400 else ""

    def raise_problem(self, where: str) -> NoReturn:
        """Raise the error of the problem, with the exit code that it has without a service."""
        kind = _ERRORS.get(self.problem, HeartbeatError)
        raise kind(self.document.get("detail") or self.document.get("title") or f"the service refused the request with {self.status}",
                   where="" if self.document.get("detail") else where)


class UnansweredError(Exception):
    """The connection broke after a request, or a part of it, was sent."""


class ApiClient:
    """A client of one running service. user: the Unix user, for the audit log. warn: is called with why a service that is up cannot be used."""

    def __init__(self, settings: Settings, token: Token, *, version: str, user: Callable[[], str], warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._token = token
        self._version = version
        self._user = user
        self._warn = warn
        self._connection: HTTPConnection | None = None
        self._used_at = 0.0
        self.settings_in_use = ""
        """The fingerprint of the settings that the service uses (settings/fingerprint.py)."""

    def __str__(self) -> str:
        table = self._settings.heartbeat
        return f"{connectable_host(table.host)}:{table.port}" if table.on_port else str(socket_path(self._settings))

    def connect(self, sock: socket.socket | None = None) -> bool:
        """Connect to the service; return whether one of this data_dir and version is up. sock: is used instead of a new connection.

        The token is sent only to a process that has proved that it knows it. The connection is then used for the actions, so no other
        process can take the place of this one in between.
        """
        sock = sock or connected_socket(self._settings)
        if sock is None:
            return False
        try:
            return self._verify(sock)
        except TimeoutError:
            self._warn(f"the service at {self} does not answer within {ANSWER_S:g} s")
        except (OSError, HTTPException, ValueError, UnansweredError):
            pass  # another program, or a service that is just stopping
        self.close()
        sock.close()
        return False

    def is_up(self) -> bool:
        """Return whether anything listens at the address of the service."""
        sock = connected_socket(self._settings)
        if sock is not None:
            sock.close()
        return sock is not None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def act(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, what: str) -> Answer:
        """Request an action, and return the response. what: says in errors what may have been done, such as "the run was started".

        If the connection breaks, the request is repeated once with the same key, with which the service performs it only once. Raises
        HeartbeatError if the service is not up any more, or if it is not known whether it has performed the request.
        """
        if self._connection is not None and time.monotonic() - self._used_at > IDLE_S:
            self.close()  # the service closes idle connections
        if self._connection is None and not self.connect():
            raise HeartbeatError("the service is not up any more", where=str(self), fix="repeat the command", retry=True)
        key = {"Idempotency-Key": secrets.token_hex(16)} if method == "POST" else {}
        deadline = time.monotonic() + WAIT_S
        is_repeated = False
        while True:
            try:
                answer = self._exchange(method, path, body, key)
            except UnansweredError as error:
                self.close()
                if is_repeated or not self.connect():
                    raise HeartbeatError(f"the connection broke after the request was sent ({error}), so it is not known whether {what}",
                                         where=str(self), fix="see `pipeline audit`, and repeat the command if it was not done") from error
                is_repeated = True
                continue
            if answer.problem not in ("too-many-requests", "in-progress") or time.monotonic() > deadline:
                return answer
            time.sleep(float(answer.headers.get("Retry-After", "0.2")))

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Answer:
        """Send a request with the token and return the response. Raises UnansweredError."""
        assert self._connection is not None
        sent = {"Authorization": f"Bearer {self._token.reveal()}", "Pipeline-User": self._user(), **headers}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            self._connection.request(method, _API + path, content, sent)
            response = self._connection.getresponse()
            text = response.read(_LONGEST_ANSWER)
            self._used_at = time.monotonic()
            return Answer(response.status, json.loads(text), dict(response.headers))
        except (OSError, HTTPException, ValueError) as error:
            raise UnansweredError(str(error) or type(error).__name__) from error

    def _verify(self, sock: socket.socket) -> bool:
        """Return whether the process at the other end of a connection is the service of this data_dir and version; otherwise close it."""
        challenge = secrets.token_hex(16)
        sock = _with_tls(sock, self._settings)
        self._connection = _http_over(sock)
        self._connection.request("GET", f"/instance?challenge={challenge}")
        response = self._connection.getresponse()
        found = json.loads(response.read(_LONGEST_ANSWER)) if response.status == 200 else None
        if not isinstance(found, dict) or not same_secret(str(found.get("proof")), self._token.proof_for(challenge, str(found.get("instance")))):
            self.close()
            return False  # another program, or the service of another data_dir
        answer = self._exchange("GET", "/service", None, {})
        if answer.status != 200 or answer.document.get("version") != self._version:
            self._warn(f"the service at {self} has another version than this command")
            self.close()
            return False
        self.settings_in_use = answer.document["settings"]
        sock.settimeout(ACT_S)
        return True


def _with_tls(sock: socket.socket, settings: Settings) -> socket.socket:
    if settings.heartbeat.certificate is None or not settings.heartbeat.on_port:
        return sock
    context = trust_own_certificate(settings)
    assert context is not None
    return context.wrap_socket(sock)


def _http_over(sock: socket.socket) -> HTTPConnection:
    """Return an HTTP connection over a connected socket. It does not connect again: the next process at the address may be another one."""
    class Connected(HTTPConnection):
        auto_open = 0

        def connect(self) -> None:
            self.sock = sock

    connection = Connected("localhost")
    connection.connect()
    return connection
