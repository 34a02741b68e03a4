"""A server with the API of OpenAI for chat completions, whose answers a test scripts.

They are good, hostile, slow or cut.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

_RECORD = re.compile(r"<<<RECORD (?P<number>\d+) (?P<boundary>[0-9a-f]+)>>>\n(?P<text>.*?)\n<<<END (?P=number) (?P=boundary)>>>", re.DOTALL)
_TRICKLE_S = 0.02


@dataclass(frozen=True)
class AskedModel:
    """A request as it arrived. headers: by name in small letters."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body or b"{}"))

    @property
    def messages(self) -> list[dict[str, str]]:
        return list(self.json["messages"])

    @property
    def system(self) -> str:
        return self.messages[0]["content"]

    @cached_property
    def records(self) -> dict[int, str]:
        """The texts of the records by their numbers, as a model can tell them apart."""
        return {int(found["number"]): found["text"] for found in _RECORD.finditer(self.messages[-1]["content"])}

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the answer in the request; {} if the request has none."""
        return dict(self.json.get("response_format", {}).get("json_schema", {}).get("schema", {}))


@dataclass(frozen=True)
class Answer:
    """An answer. text: what the model says.

    status, headers, body: those of an HTTP error; body replaces everything. chunks: how many characters each event of the stream has.
    usage: tokens of the request and of the answer; None leaves them out. finish: the `finish_reason`. refusal: what a model says that
    refuses. cut_after: the connection is reset after this many characters of the text; closes: it is closed instead, as if it were the end.
    hang: nothing more is sent after this many characters, until the test ends; 0 hangs after the headers, -1 before them. trickle: bytes
    that mean nothing are sent one by one, before the headers (-1) or after so many characters. endless: the text never ends.
    stream: False answers with one JSON object even if a stream was asked for.
    """

    text: str = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    chunks: int = 40
    usage: tuple[Any, Any] | None = (100, 10)
    finish: str | None = "stop"
    refusal: str = ""
    cut_after: int | None = None
    closes: bool = False
    hang: int | None = None
    trickle: int | None = None
    endless: bool = False
    stream: bool = True


Script = Callable[[AskedModel], "str | Answer | dict[str, Any]"]


@dataclass
class LanguageModelServer:
    """script: the answer to a request: a text, an object that is written as JSON, or an Answer. models: the names that /v1/models lists. tls: a server's context."""

    script: Script
    models: tuple[str, ...] = ("test-model",)
    tls: ssl.SSLContext | None = None
    host: str = ""
    requests: list[AskedModel] = field(default_factory=list)
    """All requests for completions, in the order of their arrival."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._stopping = threading.Event()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.host}/v1"

    def settings(self, more: str = "") -> str:
        """The table [ai] for this server."""
        return f'[ai]\nbase_url = "{self.url}"\nmodel = "test-model"\n{more}\n'

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None:
                self._talk(connection)
                return
            with self.tls.wrap_socket(connection, server_side=True) as secured:
                self._talk(secured)

    def _talk(self, connection: socket.socket) -> None:
        asked = _read(connection)
        if asked is None:
            return
        if asked.path.endswith("/models"):
            connection.sendall(_json_response({"object": "list", "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.models]}))
        else:
            self.requests.append(asked)
            self._answer(connection, asked, _answer_of(self.script(asked)))
        connection.shutdown(socket.SHUT_WR)

    def _answer(self, connection: socket.socket, asked: AskedModel, answer: Answer) -> None:
        if answer.hang == -1:
            self._stopping.wait()
            return
        if answer.trickle == -1:
            self._trickle(connection, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100_000)
            return
        if answer.body is not None or answer.status != 200:
            error = {"error": {"message": answer.text or "no", "type": "error", "param": None, "code": None}}
            connection.sendall(_response(answer.status, answer.body if answer.body is not None else json.dumps(error).encode(), answer.headers))
        elif asked.json.get("stream") and answer.stream:
            self._stream(connection, answer)
        else:
            connection.sendall(_json_response(_whole(answer)))

    def _stream(self, connection: socket.socket, answer: Answer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        for piece in _pieces(answer):
            for place, happens in ((answer.cut_after, self._cut), (answer.hang, self._hang), (answer.trickle, self._drip)):
                if place is not None and sent >= place:
                    happens(connection, answer)
                    return
            _send_event(connection, _chunk({"content": piece}))
            sent += len(piece)
        for place, happens in ((answer.cut_after, self._cut), (answer.hang, self._hang), (answer.trickle, self._drip)):
            if place is not None:
                happens(connection, answer)
                return
        if answer.refusal:
            _send_event(connection, _chunk({"refusal": answer.refusal}))
        if answer.finish is not None:
            _send_event(connection, _chunk({}, finish=answer.finish))
        if answer.usage is not None:
            _send_event(connection, {**_chunk({}), "choices": [], "usage": _usage(answer.usage)})
        _send(connection, b"data: [DONE]\n\n")
        connection.sendall(b"0\r\n\r\n")

    def _cut(self, connection: socket.socket, answer: Answer) -> None:
        if answer.closes:
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    def _hang(self, connection: socket.socket, answer: Answer) -> None:
        self._stopping.wait()

    def _drip(self, connection: socket.socket, answer: Answer) -> None:
        self._trickle(connection, b"1\r\n:\r\n" * 100_000)

    def _trickle(self, connection: socket.socket, data: bytes) -> None:
        for at in range(len(data)):
            connection.sendall(data[at:at + 1])
            if self._stopping.wait(_TRICKLE_S):
                return


def _answer_of(said: str | Answer | dict[str, Any]) -> Answer:
    if isinstance(said, Answer):
        return said
    return Answer(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))


def _pieces(answer: Answer) -> Iterator[str]:
    while True:
        yield from (answer.text[at:at + answer.chunks] for at in range(0, len(answer.text), answer.chunks))
        if not answer.endless:
            return


def _read(connection: socket.socket) -> AskedModel | None:
    raw = b""
    while b"\r\n\r\n" not in raw:
        if not (more := connection.recv(65536)):
            return None
        raw += more
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", 0)):
        if not (more := connection.recv(65536)):
            return None
        body += more
    return AskedModel(lines[0].split(" ")[1], headers, body)


def _response(status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower() == "content-type" for name, _ in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _json_response(said: dict[str, Any]) -> bytes:
    return _response(200, json.dumps(said).encode())


def _usage(usage: tuple[Any, Any]) -> dict[str, Any]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": 0}


def _whole(answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text or None, "refusal": answer.refusal or None}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "test-model",
            "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
            **({"usage": _usage(answer.usage)} if answer.usage is not None else {})}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "test-model",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _send_event(connection: socket.socket, event: dict[str, Any]) -> None:
    _send(connection, b"data: " + json.dumps(event).encode() + b"\n\n")


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))
