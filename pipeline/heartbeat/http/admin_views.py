"""The pages that need the token: spiders, live runs, sent digests, outbox, and their buttons."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web

from pipeline.errors import PipelineError, StoreError, UsageError
from pipeline.heartbeat.http import atom as feeds
from pipeline.heartbeat.http.actions import AdminActions
from pipeline.heartbeat.http.auth import Authorizer, Handler
from pipeline.heartbeat.http.pages import PageRenderer
from pipeline.heartbeat.http.stored_files import in_file_thread, send_file
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.model import Run

EVENT_EVERY_S = 1.0
STREAMS = 64
"""Maximum number of live progress streams that are open at the same time."""
_DIGEST_POLICY = ("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
                  "form-action 'none'; frame-ancestors 'self'")
_T = TypeVar("_T")
_Key = TypeVar("_Key", str, int)


class AdminViews:
    """Handles the requests for pages that need the token.

    Threads read the store, so the event loop never waits for the store.
    """

    def __init__(self, actions: AdminActions, authorizer: Authorizer, pages: PageRenderer, snapshot: Callable[[], Awaitable[Snapshot]]) -> None:
        self._actions = actions
        self._authorizer = authorizer
        self._pages = pages
        self._snapshot = snapshot
        self._streams = 0
        self._stopping = asyncio.Event()

    def add_to(self, router: web.UrlDispatcher) -> None:
        pages: dict[str, Handler] = {
            "/spiders/{name}": self._spider, r"/runs/{id:\d{1,18}}": self._run,
            r"/runs/{id:\d{1,18}}/events": self._events, "/digests": self._digests, "/outbox": self._outbox,
            r"/messages/{id:\d{1,18}}": self._message, r"/messages/{id:\d{1,18}}/body": self._body,
            "/files/{key:.+}": self._file}
        actions: dict[str, Handler] = {
            "/spiders/{name}/run": self._run_now, "/spiders/{name}/pause": self._pause,
            "/spiders/{name}/resume": self._resume, r"/runs/{id:\d{1,18}}/stop": self._stop_run, r"/messages/{id:\d{1,18}}/retry": self._retry,
            r"/messages/{id:\d{1,18}}/seen": self._mark_seen}
        atom: dict[str, Handler] = {"/feed.atom": self._runs_feed, "/spiders/{name}/feed.atom": self._changes_feed}
        for path, handler in atom.items():
            router.add_get(path, self._authorizer.for_feeds(handler))
        for path, handler in pages.items():
            router.add_get(path, self._authorizer.for_pages(handler))
        for path, handler in actions.items():
            router.add_post(path, self._authorizer.for_actions(_with_error_text(handler)))

    def stop(self) -> None:
        """End the live progress streams, so that the server can stop immediately."""
        self._stopping.set()

    # Reading

    async def _spider(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = _or_404(await in_file_thread(self._actions.spider, name))
        snapshot = await self._snapshot()
        return self._html("spider.html", now=snapshot, spider=snapshot["spiders"].get(name), page=found)

    async def _run(self, request: web.Request) -> web.Response:
        found = _or_404(await in_file_thread(self._actions.run, _number(request)))
        return self._html("run.html", now=await self._snapshot(), page=found, run=found.run)

    async def _digests(self, request: web.Request) -> web.Response:
        return self._html("digests.html", now=await self._snapshot(), messages=await asyncio.to_thread(self._actions.sent))

    async def _outbox(self, request: web.Request) -> web.Response:
        return self._html("outbox.html", now=await self._snapshot(), messages=await asyncio.to_thread(self._actions.waiting),
                          refused=await asyncio.to_thread(self._actions.refused))

    async def _message(self, request: web.Request) -> web.Response:
        found = _or_404(await asyncio.to_thread(self._actions.message, _number(request)))
        return self._html("message.html", now=await self._snapshot(), page=found)

    async def _body(self, request: web.Request) -> web.Response:
        """Return a sent message as a page in a sandbox that allows no scripts, forms or network requests."""
        text, kind = _or_404(await self._from_files(self._actions.body, _number(request)))
        return web.Response(text=text, content_type=kind, headers={
            "Content-Security-Policy": _DIGEST_POLICY, "X-Frame-Options": "SAMEORIGIN"})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """Return a stored file, or the range of bytes that the request asks for (RFC 9110, 14)."""
        return await send_file(_or_404(await self._from_files(self._actions.stored_file, request.match_info["key"])), request)

    async def _from_files(self, read: Callable[[_Key], _T], key: _Key) -> _T:
        """Return what `read` returns. If the object store does not answer, the response is 503."""
        try:
            return await in_file_thread(read, key)
        except StoreError as error:
            raise web.HTTPServiceUnavailable(text=f"{self._actions.mask(str(error))}\n") from error

    async def _runs_feed(self, request: web.Request) -> web.Response:
        return self._feed(request, "runs", feeds.runs_ended(await self._snapshot(), self._authorizer.service_id), page="/")

    async def _changes_feed(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = _or_404(await in_file_thread(self._actions.spider, name))
        return self._feed(request, f"{name}: changes", list(feeds.changed_items(found.changes, self._authorizer.service_id)),
                          page=f"/spiders/{quote(name)}")

    def _feed(self, request: web.Request, title: str, entries: list[feeds.Entry], *, page: str) -> web.Response:
        text = self._pages.render("feed.xml", mask=self._actions.mask, title=title, entries=entries, page=page,
                                  id=f"urn:{self._authorizer.service_id}:{quote(title)}", base=str(request.url.origin()),
                                  updated=max((entry.at for entry in entries), default=datetime.fromtimestamp(0, UTC)))
        return web.Response(text=text, content_type=feeds.TYPE)

    def _html(self, template: str, **facts: object) -> web.Response:
        page = self._pages.render(template, authorized=True, csrf_token=self._authorizer.csrf_token, feed_key=self._authorizer.feed_key, mask=self._actions.mask, **facts)
        return web.Response(text=page, content_type="text/html")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send a run's progress as server-sent events: `progress` on every change, `end` when the run ends.

        Section 9.2 of the WHATWG HTML standard defines the format of the events.
        """
        number = _number(request)
        _or_404(await asyncio.to_thread(self._actions.progress, number))
        if self._streams >= STREAMS:
            return web.Response(status=503, text=f"error: {STREAMS} pages with live progress are open, the maximum; reload this page to see new progress\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._streams += 1
        try:
            await response.prepare(request)
            await self._stream(number, response)
        except ConnectionError:  # the browser has closed the connection
            return response
        finally:
            self._streams -= 1
        return response

    async def _stream(self, number: int, response: web.StreamResponse) -> None:
        last = ""
        while not self._stopping.is_set():
            run, log = await in_file_thread(self._live, number)
            event = json.dumps({**self._pages.live(run), "log": log})
            # If nothing has changed, send a comment: only by writing can the server detect that the client closed the connection.
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
        run = self._actions.progress(number)
        assert run is not None  # a run in progress is never deleted
        return run, self._actions.log(number)

    # Acting

    async def _run_now(self, request: web.Request) -> web.Response:
        run = await self._act(partial(self._actions.run_now, request.match_info["name"]), self._actions.on_run)
        return _redirect(f"/runs/{run.id}")

    async def _pause(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._act(partial(self._actions.pause, name), self._actions.on_plan)
        return _redirect(f"/spiders/{name}")

    async def _resume(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._act(partial(self._actions.resume, name), self._actions.on_plan)
        return _redirect(f"/spiders/{name}")

    async def _stop_run(self, request: web.Request) -> web.Response:
        number = _number(request)
        await self._act(partial(self._actions.stop_run, number), lambda: None)
        return _redirect(f"/runs/{number}")

    async def _retry(self, request: web.Request) -> web.Response:
        await self._act(partial(self._actions.retry, _number(request)), self._actions.on_mail)
        return _redirect("/outbox")

    async def _mark_seen(self, request: web.Request) -> web.Response:
        await self._act(partial(self._actions.mark_seen, _number(request)), lambda: None)
        return _redirect("/outbox")

    async def _act(self, action: Callable[[], _T], wake: Callable[[], None]) -> _T:
        found = await asyncio.to_thread(action)
        wake()
        return found


def _with_error_text(handler: Handler) -> Handler:
    """Wrap `handler` so that a person who pressed a button sees the text of a PipelineError."""
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


def _or_404(found: _T | None) -> _T:
    if found is None:
        raise web.HTTPNotFound
    return found


def _redirect(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})
