"""Serves the routes of the API.

Authorization, rate limit, parameters, threads, ETags, audit, problem details.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import cast

from aiohttp import ETag, web
from pydantic import BaseModel

from pipeline.errors import PipelineError, StoreError, UsageError
from pipeline.heartbeat.http.access.audit import AUDITED, Audit, Audited
from pipeline.heartbeat.http.access.authorizer import Authorizer, Handler
from pipeline.heartbeat.http.access.caller import Caller
from pipeline.heartbeat.http.access.rate_limit import RateLimit
from pipeline.heartbeat.http.api.idempotency import REPLAYED, answer_once, key_of
from pipeline.heartbeat.http.api.openapi import Document
from pipeline.heartbeat.http.api.problem import ApiProblem, of_http_error
from pipeline.heartbeat.http.api.requests import body_of, query_of
from pipeline.heartbeat.http.api.resources import all_routes
from pipeline.heartbeat.http.api.route import PREFIX, ApiContext, Call, Reply, Result, Route
from pipeline.heartbeat.http.request_threads import in_request_thread

_ROOM = "/api/"
_SAFE = ("GET", "HEAD")
_log = logging.getLogger(__name__)


class Api:
    """The API of one server."""

    def __init__(self, context: ApiContext, authorizer: Authorizer, audit: Audit) -> None:
        self._context = context
        self._authorizer = authorizer
        self._audit = audit
        self._limit = RateLimit(lambda: context.settings.heartbeat.api_rate, time.monotonic)
        self.routes = all_routes()
        self._document = Document(self.routes, context.version)

    def add_to(self, router: web.UrlDispatcher) -> None:
        for route in self.routes:
            add = router.add_get if route.method == "GET" else lambda path, handler, method=route.method: router.add_route(method, path, handler)
            add(route.pattern, self._handler(route))
        router.add_get(f"{PREFIX}/openapi.json", self._openapi)

    @staticmethod
    def serves(path: str) -> bool:
        """Return whether errors of requests to this path are problem details."""
        return path.startswith(_ROOM)

    async def respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authorize a request below /api/, and return the response of its handler, or problem details."""
        caller = self._authorizer.caller_of(request)
        if caller is None or not caller.by_header:
            return ApiProblem("unauthorized", "send the header Authorization: Bearer TOKEN; `pipeline token create NAME` creates a token",
                              headers={"WWW-Authenticate": 'Bearer realm="pipeline"'}).response
        allowance = self._limit.take(caller.name)
        if allowance.allowed:
            response = await self._handled(request, handler)
        else:
            response = ApiProblem("too-many-requests", "wait, or raise [heartbeat] api_rate", headers={"Retry-After": str(allowance.wait_s)}).response
        if not response.prepared:
            response.headers["RateLimit-Policy"] = self._limit.policy
            response.headers["RateLimit"] = f'"token";r={allowance.left};t={allowance.wait_s}'
        return response

    @staticmethod
    async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiProblem as problem:
            return problem.response
        except web.HTTPException as error:
            return of_http_error(error).response
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  after any error, the client gets a response
            _log.exception("a request to the API failed because of a bug")
            return ApiProblem("bug", "the service's log contains the details").response

    def _handler(self, route: Route) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            caller = self._authorizer.caller_of(request)
            assert caller is not None  # `respond` has refused all other requests
            if request.method in _SAFE:
                return await self._answer(route, request)
            refused = ApiProblem("read-only", "create a token that may act with `pipeline token create NAME`") if not caller.may_act else None
            try:
                response = refused.response if refused is not None else await self._answer(route, request)
            except ApiProblem as problem:
                await self._record(route, caller, request, f"failed: {problem.detail or problem.kind}")
                raise
            done = "done before: the response was sent again" if REPLAYED in response.headers else "done"
            await self._record(route, caller, request, done if refused is None else "refused: the token is read-only")
            return response
        return answer

    async def _record(self, route: Route, caller: Caller, request: web.Request, outcome: str) -> None:
        target = request.get(AUDITED, Audited()).target or route.target.format_map(request.match_info)
        await self._audit.write(caller, route.action, target, outcome)

    async def _answer(self, route: Route, request: web.Request) -> web.StreamResponse:
        names = dict(request.match_info)
        if any(not text.isprintable() for text in names.values()):
            raise ApiProblem("not-found")
        query = query_of(request, route.query)
        body = await body_of(request, route.body)
        call = Call(self._context, names, query, body, request)
        key = key_of(request)
        if not key:
            return await self._performed(route, call)

        async def answer() -> web.Response:
            response = await self._performed(route, call)
            assert isinstance(response, web.Response)  # only GET sends files
            return response

        caller = self._authorizer.caller_of(request)
        assert caller is not None
        return await answer_once(key, caller.name, route, call, answer)

    async def _performed(self, route: Route, call: Call) -> web.StreamResponse:
        found = await self._perform(route, call)
        if isinstance(found, web.StreamResponse):
            return found
        reply = found if isinstance(found, Reply) else Reply(found)
        reply.wake()
        content = await in_request_thread(self._json, reply.model)
        return _response(call.request, content, reply.status or route.statuses[0], dict(reply.headers))

    async def _perform(self, route: Route, call: Call) -> Result:
        """Call the handler of a route, a function in a thread. An error of the program becomes a problem."""
        try:
            if inspect.iscoroutinefunction(route.handler):
                result: Result = await route.handler(call)
            else:
                in_thread = in_request_thread if route.method in _SAFE else asyncio.to_thread  # whatever writes may wait for the write lock
                result = await in_thread(cast("Callable[[Call], Result]", route.handler), call)
        except StoreError as error:
            raise ApiProblem("store", self._masked(error)) from error
        except UsageError as error:
            raise ApiProblem("conflict", self._masked(error)) from error
        except PipelineError as error:
            raise ApiProblem("not-possible", self._masked(error)) from error
        return result

    def _masked(self, error: PipelineError) -> str:
        return self._context.actions.mask(str(error))

    def _json(self, model: BaseModel) -> bytes:
        """Return a model as JSON, with the secrets of the settings masked in each text."""
        masked = self._context.actions.mask.in_values(model.model_dump(mode="json", by_alias=True))
        return json.dumps(masked, separators=(",", ":")).encode()  # ASCII, so a lone surrogate of a site stays an escape

    async def _openapi(self, request: web.Request) -> web.StreamResponse:
        query_of(request, Route("GET", "", "", lambda call: Reply(call.body), None).query)
        return _response(request, self._document.content, 200, {})


def _response(request: web.Request, content: bytes, status: int, headers: dict[str, str]) -> web.Response:
    """Return a response with JSON; for GET with a strong ETag, and 304 if the client has this content (RFC 9110, 13.1.2)."""
    response = web.Response(status=status, body=content, content_type="application/json", headers=headers)
    if request.method not in _SAFE:
        return response
    own = ETag(hashlib.sha256(content).hexdigest()[:32])
    if _has(request.if_none_match, own):
        response = web.Response(status=304)
    response.etag = own
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Authorization"
    return response


def _has(given: Sequence[ETag] | None, own: ETag) -> bool:
    return given is not None and any(each.value in ("*", own.value) for each in given)
