"""The HTTP application of the heartbeat: probes, status and metrics for monitors, pages for people.

aiohttp serves connections that the heartbeat server has accepted. Clients on this machine need no token for probes,
status and metrics. Pages that show scraped content, digests or logs always need the token, and so do all actions
(console/). A request with a wrong Host header is refused, to prevent DNS rebinding. Browsers do not let pages of
other origins read a response or show it in a frame.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import partial

from aiohttp import web

from pipeline.heartbeat.http.access.audit import Audit
from pipeline.heartbeat.http.access.authorizer import Authorizer, Handler
from pipeline.heartbeat.http.access.identifier import HttpConnection, TooManyWrongTokensError
from pipeline.heartbeat.http.access.sessions import Lifetimes, Sessions
from pipeline.heartbeat.http.access.token_verifier import TokenVerifier
from pipeline.heartbeat.http.api.api import Api
from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.route import ApiContext
from pipeline.heartbeat.http.console.console import Console
from pipeline.heartbeat.http.console.pages_above import page_above
from pipeline.heartbeat.http.console.render.renderer import PageRenderer
from pipeline.heartbeat.http.error_log import ErrorLogFilter
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.http.request_bodies import FORM_BYTES, has_body, refusal
from pipeline.heartbeat.protocols.commands.status import health, status
from pipeline.heartbeat.protocols.responder import Responder
from pipeline.heartbeat.token import Token

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
                               "frame-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would post forms with Origin: null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MOST_HEADERS = 64
_CHALLENGE = re.compile("[0-9a-f]{32,64}")
_log = logging.getLogger(__name__)
_requests_log = logging.getLogger(f"{__name__}.requests")


class HttpApp:
    """The HTTP routes, and the aiohttp server for connections that the heartbeat server has accepted.

    host_names: names that the Host header may contain, besides IP addresses and localhost. actions: reads the data and
    performs the actions of the pages that need the token and of the API; None means that there are no such pages and no API. zone: the time zone of
    displayed times. body_s: maximum seconds until a submitted form has arrived completely. not_ready: returns why the service does not
    do its work, apart from the database; "" if it does.
    """

    def __init__(self, responder: Responder, *, host_names: tuple[str, ...] = (), actions: OperationsContext | None = None,
                 zone: tzinfo = UTC, body_s: float = 15.0, not_ready: Callable[[], str] = str, version: str = "") -> None:
        self._responder = responder
        self._not_ready = not_ready
        pages = PageRenderer(zone, (lambda: actions.settings.pipeline.language) if actions is not None else lambda: "en")
        audit = Audit(actions.store, actions.clock, actions.masked) if actions is not None else None
        self._authorizer = Authorizer(responder.access, pages, self.connection_of, body_s=body_s, audit=audit,
                                      sessions=_sessions(responder.access.token, actions),
                                      tokens=TokenVerifier(actions.store, actions.clock) if actions is not None else None,
                                      page_above=partial(page_above, actions) if actions is not None else lambda path: "/")
        self._instance = secrets.token_hex(8)
        self._api = Api(ApiContext(actions, responder.snapshot, version, self._instance), self._authorizer, audit) if actions is not None and audit else None
        self._console = Console(actions, self._authorizer, pages, responder.snapshot)
        self._host_names = {"localhost", *(name.lower() for name in host_names)}
        self._connections: dict[web.RequestHandler, HttpConnection] = {}
        self._app = web.Application(middlewares=[self._track_request], client_max_size=FORM_BYTES)
        self._runner: web.AppRunner | None = None
        self.log_filter = ErrorLogFilter()

    async def start(self) -> None:
        _requests_log.addFilter(self.log_filter)
        app = self._app
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/instance", self._instance_proof)
        for path, handler in (("/healthz", self._healthz), ("/readyz", self._readyz), ("/status.json", self._status),
                              ("/metrics", self._metrics)):
            app.router.add_get(path, self._authorizer.for_status(handler))
        app.router.add_post("/enter", self._authorizer.log_in_by_form)
        app.router.add_post("/sign-out", self._authorizer.log_out)
        self._console.add_to(app.router)
        if self._api is not None:
            self._api.add_to(app.router)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, logger=_requests_log, shutdown_timeout=1.0,
                                     lingering_time=2.0, auto_decompress=False, max_headers=_MOST_HEADERS)
        await self._runner.setup()

    async def stop(self) -> None:
        await self._console.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        _requests_log.removeFilter(self.log_filter)

    @property
    def router(self) -> web.UrlDispatcher:
        """All routes of the HTTP application."""
        return self._app.router

    def serve(self, transport: asyncio.Transport, connection: HttpConnection) -> web.RequestHandler:
        """Return a new aiohttp handler for a connection that the heartbeat server has accepted.

        The caller must pass all further events of the transport to this handler.
        """
        assert self._runner is not None
        assert self._runner.server is not None
        handler = self._runner.server()
        self._connections[handler] = connection
        handler.connection_made(transport)
        return handler

    def forget(self, handler: web.RequestHandler) -> None:
        self._connections.pop(handler, None)

    def connection_of(self, request: web.Request) -> HttpConnection | None:
        """Return the connection on which a request arrived; None if the connection is closed."""
        return self._connections.get(request.protocol)

    @web.middleware
    async def _track_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Notify the connection when a request begins and ends.

        If the handler has not read the request body, close the connection after the response.
        """
        connection = self.connection_of(request)
        if connection is not None:
            connection.request_started()
        response = await self._respond(request, handler)
        if (has_body(request) and not request.content.is_eof()) or (connection is not None and connection.has_sent_too_much):
            response.force_close()
            if connection is not None:
                connection.body_refused()
        if connection is not None:
            if connection.is_last_request:
                response.force_close()
            connection.response_ready()
        return response

    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return the handler's response, or an error response if the request is refused or the handler fails.

        A request that is refused because of its request line or its headers is refused before its body is read.
        """
        if not self._is_our_host(request.headers.get("Host", "")):
            return web.Response(status=421, text="error: the host name in the URL is not allowed; use the IP address, or add "
                                                 "the name to [heartbeat] names in settings.toml\n")
        try:
            try:
                await self._authorizer.identify(request)
            except TooManyWrongTokensError as error:
                if Api.serves(request.path):
                    return ApiProblem("too-many-requests", "too many wrong tokens came from this address",
                                      headers={"Retry-After": error.headers["Retry-After"]}).response
                raise
            if self._api is not None and self._api.serves(request.path):
                return await self._api.respond(request, handler)
            return refusal(request) or await handler(request)
        except web.HTTPException as error:
            response = await self._authorizer.error_page(request, error) or web.Response(status=error.status, text=f"error: {error.status} {error.reason}\n")
            response.headers.update({name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers})
            return response
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  after any error, the client gets a response
            if self._authorizer.is_authorized(request):
                _log.exception("an HTTP request to the heartbeat failed because of a bug")
            else:
                self.log_error(error)
            return web.Response(status=500, text="error: the request failed because of a bug in the pipeline; the service's log contains the details\n")

    def log_error(self, error: Exception) -> None:
        """Log an error from handling a request without the token, as one line without a traceback, at most once a minute."""
        _requests_log.error("an HTTP request to the heartbeat failed", exc_info=error)

    def _is_our_host(self, host: str) -> bool:
        """Return whether a Host header (RFC 9110 section 7.2) is an IP address, localhost or an allowed name."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if not name or name.lower().rstrip(".") in self._host_names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    # Routes

    async def _healthz(self, request: web.Request) -> web.Response:
        found = await self._responder.snapshot()
        return web.Response(status=200 if found["health"] == "ok" else 503, text=f"{health(found)}\n")

    async def _livez(self, request: web.Request) -> web.Response:
        """Return 200 whenever the event loop runs (liveness probe); a restart helps only if the loop hangs."""
        return web.Response(text="ok\n")

    async def _instance_proof(self, request: web.Request) -> web.Response:
        """Prove that this process knows the token, without telling it: a command sends its token to no other process that listens on the port."""
        token, challenge = self._responder.access.token, request.query.get("challenge", "")
        if token is None or _CHALLENGE.fullmatch(challenge) is None:
            raise web.HTTPBadRequest(reason="The challenge must have 32 to 64 hexadecimal digits")
        return web.json_response({"instance": self._instance, "proof": token.proof_for(challenge, self._instance)})

    async def _readyz(self, request: web.Request) -> web.Response:
        store = (await self._responder.snapshot())["store"]
        error = self._not_ready() if store["readable"] else store["error"]
        return web.Response(status=503 if error else 200, text=f"{error or 'ok'}\n")

    async def _status(self, request: web.Request) -> web.Response:
        text = await asyncio.to_thread(status, await self._responder.snapshot())
        return web.Response(body=f"{text}\n".encode(), content_type="application/json", charset="utf-8")

    async def _metrics(self, request: web.Request) -> web.Response:
        from pipeline.heartbeat.http.metrics import exposition  # noqa: PLC0415  9 ms of a start: only for metrics
        body, content_type = await asyncio.to_thread(exposition, await self._responder.snapshot(), request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _sessions(token: Token | None, actions: OperationsContext | None) -> Sessions | None:
    """Return the sessions of browsers, which last as long as the settings say; None if there is no token with which browsers sign in."""
    if token is None:
        return None
    if actions is None:
        return Sessions(token, None, lambda: datetime.now(UTC), Lifetimes)
    return Sessions(token, actions.store, actions.clock,
                    lambda: Lifetimes(actions.settings.heartbeat.session_idle, actions.settings.heartbeat.session_max))


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "pipeline"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
