"""POST requests with an Idempotency-Key.

Performed once; the same request again gets the response to the first one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from aiohttp import web

from pipeline.errors import PipelineError
from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.route import Call, Route
from pipeline.store.access import api_requests
from pipeline.store.access.api_requests import ApiRequest

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LONGEST_KEY = 255
LONGEST = timedelta(minutes=10)
"""A request without a response after this time was interrupted. The longest one, a search for new rules, takes 90 s and may wait for two others."""
_WAIT_S = "1"
_log = logging.getLogger(__name__)

Answer = Callable[[], Awaitable[web.Response]]


def key_of(request: web.Request) -> str:
    """Return the key of a POST request, "" if it has none. A key may be quoted (RFC 9651, 3.3.3). Raises ApiProblem."""
    given = request.headers.getall(HEADER, []) if request.method == "POST" else []
    if not given:
        return ""
    key = given[0].strip()
    key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if len(given) > 1 or not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise ApiProblem("invalid-parameter", errors=[(HEADER, f"give it once, with 1 to {LONGEST_KEY} printable ASCII characters")])
    return key


async def answer_once(key: str, token: str, route: Route, call: Call, answer: Answer) -> web.Response:
    """Return the response to a request: the stored one, or that of `answer`, which is then stored. Raises ApiProblem."""
    store, now = call.context.store, call.context.now()
    try:
        request, is_new = await asyncio.to_thread(api_requests.begin, store, token, key, _hash_of(route, call), now=now)
    except PipelineError as error:
        raise ApiProblem("store", str(error)) from error
    if not is_new:
        return _stored(request, _hash_of(route, call), is_interrupted=now - request.created_at > LONGEST)
    try:
        response = await answer()
    except ApiProblem as problem:
        if problem.response.status >= 500:  # not all was done, so the request may be sent again
            await _note(api_requests.forget, call, request)
        else:
            await _finish(call, request, problem.response)
        raise
    await _finish(call, request, response)
    return response


def _stored(request: ApiRequest, request_hash: str, *, is_interrupted: bool) -> web.Response:
    """Return the stored response. Raises ApiProblem if there is none, or if the request was another one."""
    if request.request_hash != request_hash:
        raise ApiProblem("key-reused", f"use a new {HEADER} for each request; a key is kept for 24 hours")
    if request.status is None and is_interrupted:
        raise ApiProblem("interrupted", "the service ended before it had performed the first request with this key; look whether the action was performed")
    if request.status is None:
        raise ApiProblem("in-progress", "the first request with this key is still being performed", headers={"Retry-After": _WAIT_S})
    headers = {**request.headers, REPLAYED: "true"}
    return web.Response(status=request.status, body=request.body.encode(), headers=headers)


async def _finish(call: Call, request: ApiRequest, response: web.Response) -> None:
    body = response.body
    text = body.decode() if isinstance(body, bytes) else ""
    headers = {name: response.headers[name] for name in ("Content-Type", "Location", "Retry-After") if name in response.headers}
    await _note(api_requests.finish, call, request, status=response.status, headers=headers, body=text)


async def _note(write: Callable[..., None], call: Call, request: ApiRequest, **fields: object) -> None:
    try:
        await asyncio.to_thread(write, call.context.store, request, **fields)
    except PipelineError as error:  # the action is done, and its response is on its way; a repetition gets 409
        _log.warning("the response to a request with an %s could not be stored: %s", HEADER, error)


def _hash_of(route: Route, call: Call) -> str:
    body = call.body.model_dump_json() if call.body is not None else ""
    text = f"{route.method} {call.request.path}\n{call.query.model_dump_json()}\n{body}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
