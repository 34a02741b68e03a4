"""One request to the language model: a streamed answer with a limit on its time and on its size."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx2
import openai

from pipeline import __version__
from pipeline.ai.client_errors import short_said, translated
from pipeline.ai.errors import ModelError, Reason
from pipeline.ai.transport import BoundedTransport

MAX_ANSWER_CHARACTERS = 400_000
"""The maximum length of an answer. The longest useful answer is far shorter."""
_CONNECT_S = 10.0
_LARGEST_COUNT = 10**9

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Completion:
    """An answer. input_tokens, output_tokens: as the server counted them; None if it did not say."""

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class ChatClient:
    """Sends requests to the server at `base_url`. host: its name in messages."""

    def __init__(self, base_url: str, api_key: str, model: str, *, host: str) -> None:
        self._base_url = base_url
        self._headers = {"User-Agent": f"crawl-to-inbox/{__version__}"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._model = model
        self._host = host
        # Without TLS no certificate is read, which takes longer than a request to this machine.
        self._tls = httpx2.create_ssl_context() if base_url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def complete(self, messages: list[dict[str, str]], parameters: dict[str, Any], *, timeout_s: float) -> Completion:
        """Return the answer to some messages. Raises ModelError."""
        def answer(client: openai.OpenAI) -> Completion:
            shown: Any = messages  # the parameters vary with what the server accepts
            with client.chat.completions.with_streaming_response.create(model=self._model, messages=shown, stream=True, **parameters) as response:
                kind = response.headers.get("content-type", "").lower()
                if "json" in kind:  # a server that does not stream
                    return _whole(response.read())
                if "event-stream" not in kind:
                    raise _nonsense()
                return _streamed(response.parse())

        return self._within(timeout_s, answer)

    def models(self, *, timeout_s: float) -> list[str]:
        """Return the names of the server's models, at most a thousand. Raises ModelError."""
        return self._within(timeout_s, lambda client: [str(each.id) for each in list(client.models.list().data or ())[:1000]])

    def _within(self, timeout_s: float, call: Callable[[openai.OpenAI], _Result]) -> _Result:
        """Perform a call in a thread of its own, and abort it at the end of the time: looking up a host name has no time limit."""
        deadline = monotonic() + timeout_s
        transport = BoundedTransport(self._headers, self._tls)
        results: SimpleQueue[tuple[_Result | None, BaseException | None]] = SimpleQueue()

        def perform() -> None:
            timeout = httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
            try:
                with httpx2.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False) as http, openai.OpenAI(
                        base_url=self._base_url, api_key="set by the transport", max_retries=0, timeout=timeout, http_client=http) as client:
                    results.put((call(client), None))
            except BaseException as error:  # noqa: BLE001  it is raised, translated, in the thread that waits
                results.put((None, error))

        threading.Thread(target=perform, name="language-model", daemon=True).start()
        try:
            result, error = results.get(timeout=max(0.0, deadline - monotonic()))
        except Empty:
            transport.abort()
            raise ModelError("the language model did not answer in time", where=self._host, reason=Reason.TIME_LIMIT, sent=True) from None
        if error is not None:
            raise self._meaning_of(error) from error
        return result  # type: ignore[return-value]  # there is a result if there is no error

    def _meaning_of(self, error: BaseException) -> ModelError:
        if isinstance(error, ModelError):
            error.where = self._host
            return error
        found = translated(error, self._host)
        if isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError)):
            found.said = f"{error.param or ''} {error.message}"
        return found


def _streamed(stream: Iterable[object]) -> Completion:
    """Read a stream of chunks to its end. Raises ModelError if it ends before the model has ended its answer.

    The chunks are what the server sent, whatever their types should be.
    """
    parts: list[str] = []
    length = 0
    finish: object = None
    usage: object = None
    for chunk in stream:
        usage = getattr(chunk, "usage", None) or usage
        choice = _first(getattr(chunk, "choices", None))
        delta = getattr(choice, "delta", None)
        if getattr(delta, "refusal", None):
            raise _refused()
        content = getattr(delta, "content", None)
        if isinstance(content, str):
            parts.append(content)
            length += len(content)
        finish = getattr(choice, "finish_reason", None) or finish
        if length > MAX_ANSWER_CHARACTERS:
            raise _too_long()
    return _finished("".join(parts), finish, usage)


def _whole(body: bytes) -> Completion:
    """Read an answer that was sent as one JSON object."""
    completion = json.loads(body, object_hook=lambda members: SimpleNamespace(**members))
    if (failed := getattr(completion, "error", None)) is not None:
        said = short_said(failed if isinstance(failed, str) else getattr(failed, "message", ""))
        raise ModelError(f"the server of the language model failed{f': “{said}”' if said else ''}", reason=Reason.SERVER_ERROR, retry=True, sent=True)
    choice = _first(getattr(completion, "choices", None))
    message = getattr(choice, "message", None)
    if getattr(message, "refusal", None):
        raise _refused()
    text = getattr(message, "content", None)
    if not isinstance(text, str):
        raise _nonsense()
    if len(text) > MAX_ANSWER_CHARACTERS:
        raise _too_long()
    return _finished(text, getattr(choice, "finish_reason", None), getattr(completion, "usage", None))


def _first(choices: object) -> object:
    return choices[0] if isinstance(choices, list) and choices else None


def _finished(text: str, finish: object, usage: object) -> Completion:
    if finish == "content_filter":
        raise _refused()
    if finish == "length":
        raise _too_long()
    if not finish:
        raise ModelError("the answer of the language model was cut short", reason=Reason.CUT, retry=True, sent=True)
    return Completion(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _refused() -> ModelError:
    return ModelError("the language model refused to answer", reason=Reason.REFUSED, sent=True)


def _nonsense() -> ModelError:
    return ModelError("the language model answered with something else than was asked for", reason=Reason.NONSENSE, sent=True)


def _too_long() -> ModelError:
    return ModelError("the answer of the language model is too long", fix="increase [ai] max_output_tokens", reason=Reason.TOO_LONG, sent=True)


def _count(usage: object, name: str) -> int | None:
    """Return a number of tokens; None if the server did not send a usable number."""
    found = getattr(usage, name, None)
    return min(found, _LARGEST_COUNT) if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
