"""The pages behind the token: a spider, a run live, digests as they were sent, the outbox; and the buttons."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http import atom as feeds
from pipeline.heartbeat.http.actions import Desk
from pipeline.heartbeat.http.auth import Gate, Handler
from pipeline.heartbeat.http.pages import Pages
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.model import Run

EVENT_EVERY_S = 1.0
STREAMS = 64
"""Runs watched live at the same time, in all."""
_DIGEST_POLICY = ("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
                  "form-action 'none'; frame-ancestors 'self'")
_T = TypeVar("_T")


class Private:
    """Handlers; everything that reads the store does so in a thread."""

    def __init__(self, desk: Desk, gate: Gate, pages: Pages, latest: Callable[[], Awaitable[Snapshot]]) -> None:
        self._desk = desk
        self._gate = gate
        self._pages = pages
        self._latest = latest
        self._streams = 0
        self._stopping = asyncio.Event()

    def add_to(self, router: web.UrlDispatcher) -> None:
        pages: dict[str, Handler] = {
            "/spiders/{name}": self._spider, r"/runs/{id:\d{1,18}}": self._run,
            r"/runs/{id:\d{1,18}}/events": self._events, "/digests": self._digests, "/outbox": self._outbox,
            r"/messages/{id:\d{1,18}}": self._message, r"/messages/{id:\d{1,18}}/body": self._body}
        actions: dict[str, Handler] = {
            "/spiders/{name}/run": self._run_now, "/spiders/{name}/pause": self._pause,
            "/spiders/{name}/resume": self._resume, r"/messages/{id:\d{1,18}}/retry": self._retry}
        atom: dict[str, Handler] = {"/feed.atom": self._runs_feed, "/spiders/{name}/feed.atom": self._changes_feed}
        for path, handler in atom.items():
            router.add_get(path, self._gate.for_feeds(handler))
        for path, handler in pages.items():
            router.add_get(path, self._gate.for_pages(handler))
        for path, handler in actions.items():
            router.add_post(path, self._gate.for_actions(_explained(handler)))

    def stop(self) -> None:
        """End the live streams, so that a stop need not wait for them."""
        self._stopping.set()

    # Looking

    async def _spider(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = _there(await asyncio.to_thread(self._desk.spider, name))
        snapshot = await self._latest()
        return self._html("spider.html", now=snapshot, spider=snapshot["spiders"].get(name), page=found)

    async def _run(self, request: web.Request) -> web.Response:
        found = _there(await asyncio.to_thread(self._desk.run, _number(request)))
        return self._html("run.html", now=await self._latest(), page=found, run=found.run)

    async def _digests(self, request: web.Request) -> web.Response:
        return self._html("digests.html", now=await self._latest(), messages=await asyncio.to_thread(self._desk.sent))

    async def _outbox(self, request: web.Request) -> web.Response:
        return self._html("outbox.html", now=await self._latest(), messages=await asyncio.to_thread(self._desk.waiting))

    async def _message(self, request: web.Request) -> web.Response:
        found = _there(await asyncio.to_thread(self._desk.message, _number(request)))
        return self._html("message.html", now=await self._latest(), page=found)

    async def _body(self, request: web.Request) -> web.Response:
        """What was sent, in a sandbox: no script, no form, no request to anywhere."""
        text, kind = _there(await asyncio.to_thread(self._desk.body, _number(request)))
        return web.Response(text=text, content_type=kind, headers={
            "Content-Security-Policy": _DIGEST_POLICY, "X-Frame-Options": "SAMEORIGIN"})

    async def _runs_feed(self, request: web.Request) -> web.Response:
        return self._feed(request, "runs", feeds.runs_ended(await self._latest(), self._gate.service), page="/")

    async def _changes_feed(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = _there(await asyncio.to_thread(self._desk.spider, name))
        return self._feed(request, f"{name}: changes", list(feeds.of_changes(found.changes, self._gate.service)),
                          page=f"/spiders/{quote(name)}")

    def _feed(self, request: web.Request, title: str, entries: list[feeds.Entry], *, page: str) -> web.Response:
        text = self._pages.render("feed.xml", mask=self._desk.mask, title=title, entries=entries, page=page,
                                  id=f"urn:{self._gate.service}:{quote(title)}", base=str(request.url.origin()),
                                  updated=max((entry.at for entry in entries), default=datetime.fromtimestamp(0, UTC)))
        return web.Response(text=text, content_type=feeds.TYPE)

    def _html(self, template: str, **facts: object) -> web.Response:
        page = self._pages.render(template, inside=True, proof=self._gate.proof, feed_key=self._gate.feed_key, mask=self._desk.mask, **facts)
        return web.Response(text=page, content_type="text/html")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events (WHATWG HTML section 9.2): `progress` whenever it changed, `end` when the run has."""
        number = _number(request)
        _there(await asyncio.to_thread(self._desk.progress, number))
        if self._streams >= STREAMS:
            return web.Response(status=503, text=f"error: {STREAMS} runs are watched already; reload to see more\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._streams += 1
        try:
            await response.prepare(request)
            await self._stream(number, response)
        except ConnectionError:  # the visitor has left
            return response
        finally:
            self._streams -= 1
        return response

    async def _stream(self, number: int, response: web.StreamResponse) -> None:
        last = ""
        while not self._stopping.is_set():
            run, log = await asyncio.to_thread(self._live, number)
            event = json.dumps({**self._pages.live(run), "log": log})
            # A comment keeps the connection known to be alive, and finds out when it is not.
            await response.write(f"event: progress\ndata: {event}\n\n".encode() if event != last else b":\n\n")
            last = event
            if run.ended_at is not None:
                await response.write(b"event: end\ndata: {}\n\n")
                return
            try:
                await asyncio.wait_for(self._stopping.wait(), EVENT_EVERY_S)
            except TimeoutError:
                continue

    def _live(self, number: int) -> tuple[Run, str]:
        run = self._desk.progress(number)
        assert run is not None  # runs are never deleted while they are at work
        return run, self._desk.log(number)

    # Doing

    async def _run_now(self, request: web.Request) -> web.Response:
        run = await self._done(partial(self._desk.run_now, request.match_info["name"]), self._desk.on_run)
        return _see(f"/runs/{run.id}")

    async def _pause(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._done(partial(self._desk.pause, name), self._desk.on_plan)
        return _see(f"/spiders/{name}")

    async def _resume(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._done(partial(self._desk.resume, name), self._desk.on_plan)
        return _see(f"/spiders/{name}")

    async def _retry(self, request: web.Request) -> web.Response:
        await self._done(partial(self._desk.retry, _number(request)), self._desk.on_mail)
        return _see("/outbox")

    async def _done(self, action: Callable[[], _T], wake: Callable[[], None]) -> _T:
        found = await asyncio.to_thread(action)
        wake()
        return found


def _explained(handler: Handler) -> Handler:
    """What a person asked for and cannot have is said, not logged."""
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except UsageError as error:
            return web.Response(status=409, text=f"error: {error}\n")
        except PipelineError as error:
            return web.Response(status=503, text=f"error: {error}\n")
    return answer


def _number(request: web.Request) -> int:
    return int(request.match_info["id"])


def _there(found: _T | None) -> _T:
    if found is None:
        raise web.HTTPNotFound
    return found


def _see(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})
