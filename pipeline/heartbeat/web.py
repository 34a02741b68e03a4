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
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.heartbeat.desk import Desk
from pipeline.heartbeat.gate import Gate, Visit
from pipeline.heartbeat.lines import Replies
from pipeline.heartbeat.metrics import exposition
from pipeline.heartbeat.pages import Pages
from pipeline.heartbeat.private import Private
from pipeline.heartbeat.shape import Snapshot
from pipeline.heartbeat.words import health, status

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
_log = logging.getLogger(f"{__name__}.requests")

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
        self._runner: web.AppRunner | None = None
        _log.addFilter(_is_our_mistake)

    async def start(self) -> None:
        app = web.Application(middlewares=[self._guarded], client_max_size=16 * 1024)
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
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, logger=_log,
                                     shutdown_timeout=1.0, lingering_time=2.0)
        await self._runner.setup()

    async def stop(self) -> None:
        if self._private is not None:
            self._private.stop()
        if self._runner is not None:
            await self._runner.cleanup()

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
        try:
            if not self._is_ours(request.headers.get("Host", "")):
                response: web.StreamResponse = web.Response(
                    status=421, text="error: this port does not answer to that name; use its address, or "
                                     "[heartbeat] names in settings.toml\n")
            else:
                response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"error: {error.status} {error.reason}\n",
                                    headers={"Allow": error.headers["Allow"]} if "Allow" in error.headers else None)
        if visit is not None:
            if visit.takes_no_more:
                response.force_close()
            visit.request_answered()
        return response

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


def _is_our_mistake(record: logging.LogRecord) -> bool:
    """Keep out of the log what clients send wrong: anybody could fill it, with text of theirs."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "pipeline"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
