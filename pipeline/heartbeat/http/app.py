"""HTTP on the heartbeat's port: probes, status and metrics for monitors, pages for people.

aiohttp serves connections that were accepted elsewhere. Probes, status and metrics need no token on this
machine; what shows scraped content, digests or logs, and every action, always does (private.py). A wrong Host
is refused (DNS rebinding), no other origin may read or frame an answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, tzinfo

from aiohttp import web

from pipeline.heartbeat.connections.fault_log import FaultLog
from pipeline.heartbeat.http.actions import Desk
from pipeline.heartbeat.http.admin_views import Private
from pipeline.heartbeat.http.auth import Gate, Visit
from pipeline.heartbeat.http.metrics import exposition
from pipeline.heartbeat.http.pages import Pages
from pipeline.heartbeat.http.request_bodies import FORM_BYTES, has_body, refusal
from pipeline.heartbeat.protocols.commands import health, status
from pipeline.heartbeat.protocols.lines import Replies
from pipeline.heartbeat.snapshot.schema import Snapshot

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
                               "frame-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # no-referrer would have browsers post forms with Origin: null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MOST_HEADERS = 64
_log = logging.getLogger(__name__)
_requests_log = logging.getLogger(f"{__name__}.requests")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """The routes, and the aiohttp server that connections are handed to. host, names: what Host may say."""

    def __init__(self, replies: Replies, *, host: str, names: tuple[str, ...] = (), desk: Desk | None = None,
                 zone: tzinfo = UTC, body_s: float = 15.0) -> None:
        self._replies = replies
        self._pages = Pages(zone)
        self._gate = Gate(replies.access, self._pages, self.visit, body_s=body_s)
        self._private = Private(desk, self._gate, self._pages, self._latest) if desk is not None else None
        self._names = {"localhost", host.lower(), *(name.lower() for name in names)}
        self._visits: dict[web.RequestHandler, Visit] = {}
        self._app = web.Application(middlewares=[self._guarded], client_max_size=FORM_BYTES)
        self._runner: web.AppRunner | None = None
        self.faults = FaultLog()

    async def start(self) -> None:
        _requests_log.addFilter(self.faults)
        app = self._app
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/style.css", self._style)
        app.router.add_get("/live.js", self._script)
        app.router.add_get("/icon.svg", self._icon)
        app.router.add_get("/", self._overview)
        for path, handler in (("/healthz", self._healthz), ("/readyz", self._readyz), ("/status.json", self._status),
                              ("/metrics", self._metrics)):
            app.router.add_get(path, self._gate.for_status(handler))
        app.router.add_post("/enter", self._gate.enter)
        if self._private is not None:
            self._private.add_to(app.router)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, logger=_requests_log, shutdown_timeout=1.0,
                                     lingering_time=2.0, auto_decompress=False, max_headers=_MOST_HEADERS)
        await self._runner.setup()

    async def stop(self) -> None:
        if self._private is not None:
            self._private.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        _requests_log.removeFilter(self.faults)

    def resources(self) -> list[web.AbstractResource]:
        """Every path that is answered."""
        return list(self._app.router.resources())

    def serve(self, transport: asyncio.Transport, visit: Visit) -> web.RequestHandler:
        """A handler for a connection that was accepted elsewhere: feed it the connection's events."""
        assert self._runner is not None
        assert self._runner.server is not None
        handler = self._runner.server()
        self._visits[handler] = visit
        handler.connection_made(transport)
        return handler

    def forget(self, handler: web.RequestHandler) -> None:
        self._visits.pop(handler, None)

    def visit(self, request: web.Request) -> Visit | None:
        """The connection a request came by; None when it is gone."""
        return self._visits.get(request.protocol)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        visit = self.visit(request)
        if visit is not None:
            visit.request_began()
        response = await self._answered(request, handler)
        if has_body(request) and not request.content.is_eof():
            response.force_close()
            if visit is not None:
                visit.body_refused()
        if visit is not None:
            if visit.takes_no_more:
                response.force_close()
            visit.request_answered()
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The handler's answer, or what is wrong with the request. Nothing of a body is read before that."""
        if not self._is_ours(request.headers.get("Host", "")):
            return web.Response(status=421, text="error: this port does not answer to that name; use its address, or "
                                                 "[heartbeat] names in settings.toml\n")
        try:
            return refusal(request) or await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=f"error: {error.status} {error.reason}\n",
                                headers={"Allow": error.headers["Allow"]} if "Allow" in error.headers else None)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets an answer and the log one line
            if self._gate.is_open(request):
                _log.exception("a request could not be answered")
            else:
                self.failed(error)
            return web.Response(status=500, text="error: no answer, this is a bug in the pipeline; its log has the details\n")

    def failed(self, error: Exception) -> None:
        """Log a fault that a request of somebody unknown caused: one line, now and then."""
        _requests_log.error("fault", exc_info=error)

    def _is_ours(self, host: str) -> bool:
        """Whether Host (RFC 9110 section 7.2) names us: an address, localhost or a name of the settings."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if not name or name.lower().rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    async def _latest(self) -> Snapshot:
        return await self._replies.latest.get(self._replies.clock())

    async def _healthz(self, request: web.Request) -> web.Response:
        found = await self._latest()
        return web.Response(status=200 if found["health"] == "ok" else 503, text=f"{health(found)}\n")

    async def _livez(self, request: web.Request) -> web.Response:
        """The loop turns: that is all a restart could mend."""
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        store = (await self._latest())["store"]
        return web.Response(status=200 if store["readable"] else 503,
                            text="ok\n" if store["readable"] else f"{store['error']}\n")

    async def _status(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{status(await self._latest())}\n", content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = exposition(await self._latest(), request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _overview(self, request: web.Request) -> web.Response:
        """What the status says, for people; the link of `pipeline url` comes in here, too."""
        if "token" in request.query:
            return self._gate.entered(request, request.query["token"])
        inside = self._gate.is_open(request)
        if not inside and not self._gate.trusts(request):
            return self._gate.locked(request)
        page = self._pages.overview(await self._latest(), inside=inside and self._private is not None,
                                    feed_key=self._gate.feed_key if inside else "")
        return web.Response(text=page, content_type="text/html")

    async def _style(self, request: web.Request) -> web.Response:
        return web.Response(text=self._pages.style, content_type="text/css")

    async def _icon(self, request: web.Request) -> web.Response:
        return web.Response(text=self._pages.icon, content_type="image/svg+xml")

    async def _script(self, request: web.Request) -> web.Response:
        return web.Response(text=self._pages.script, content_type="text/javascript")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "pipeline"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
