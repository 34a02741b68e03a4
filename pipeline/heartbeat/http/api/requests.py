"""Reads and validates the query and the body of a request to the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import ValidationError

from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.route import Input
from pipeline.heartbeat.http.request_bodies import has_body
from pipeline.settings import nearest

BODY_BYTES = 256 * 1024
"""Maximum size of a body: the text of a settings file."""
BODY_S = 15.0
_MOST_FIELDS = 32
_MOST_ERRORS = 20


def query_of(request: web.Request, model: type[Input]) -> Input:
    """Return the parameters of the query. Raises ApiProblem for an unknown, duplicate or invalid parameter."""
    try:
        pairs = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise ApiProblem("invalid-parameter", "the query is not valid UTF-8, or has too many parameters") from error
    known = list(model.model_fields)
    for name, _ in pairs:
        if name not in known:
            raise ApiProblem("unknown-parameter", f"no parameter {name!r}{nearest(name, known)}; known: {', '.join(known) or 'none'}")
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ApiProblem("duplicate-parameter", "give each parameter once")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ApiProblem("invalid-parameter", errors=_errors(error)) from error


async def body_of(request: web.Request, model: type[Input] | None) -> Input | None:
    """Return the fields of the body; a missing body is an empty object. Raises ApiProblem.

    model: None means that the request must not have a body.
    """
    if model is None:
        if has_body(request):
            raise ApiProblem("unexpected-body", "send this request without a body")
        return None
    content = await _read(request) if has_body(request) else b""
    try:
        if content:
            json.loads(content, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
        return model.model_validate_json(content or b"{}", strict=True)
    except ValidationError as error:
        raise ApiProblem("invalid-body", errors=_errors(error)) from error
    except (ValueError, RecursionError) as error:
        raise ApiProblem("invalid-body", f"the body is not valid JSON: {error}"[:300]) from error


async def _read(request: web.Request) -> bytes:
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"} or request.content_type != "application/json" or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise ApiProblem("unsupported-media-type", "send the body as application/json in UTF-8, without Content-Encoding",
                         headers={"Accept": "application/json", "Accept-Encoding": "identity"})
    too_large = ApiProblem("body-too-large", f"a body may have at most {BODY_BYTES} bytes")
    if (request.content_length or 0) > BODY_BYTES:
        raise too_large
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            while chunk := await request.content.read(BODY_BYTES + 1 - len(body)):
                body += chunk
                if len(body) > BODY_BYTES:
                    raise too_large
    except TimeoutError as error:
        raise ApiProblem("timeout") from error
    except web.RequestPayloadError as error:
        raise ApiProblem("invalid-body", "the transfer coding of the body is invalid") from error
    return body


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _errors(error: ValidationError) -> list[tuple[str, str]]:
    """Return the place and the reason of each invalid value, without the value."""
    return [(".".join(str(part) for part in each["loc"]), each["msg"])
            for each in error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]]
