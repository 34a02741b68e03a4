"""The page of one run: its figures and its log, live while the run is in progress, and the button that stops it."""

from __future__ import annotations

import asyncio
import json
from functools import partial

from aiohttp import web

from pipeline.heartbeat.http.console.site import Site, act, number_of, or_404, redirect
from pipeline.heartbeat.http.stored_files import in_file_thread
from pipeline.model import Run

EVENT_EVERY_S = 1.0
STREAMS = 64
"""Maximum number of live progress streams that are open at the same time."""


class RunViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions
        self._streams = 0

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {r"/runs/{id:\d{1,18}}": self._run, r"/runs/{id:\d{1,18}}/events": self._events})
        self._site.add_actions(router, {r"/runs/{id:\d{1,18}}/stop": self._stop_run})

    async def _run(self, request: web.Request) -> web.Response:
        found = or_404(await in_file_thread(self._actions.run, number_of(request)))
        return self._site.html("run.html", now=await self._site.snapshot(), page=found, run=found.run)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send a run's progress as server-sent events: `progress` on every change, `end` when the run ends.

        Section 9.2 of the WHATWG HTML standard defines the format of the events.
        """
        number = number_of(request)
        or_404(await asyncio.to_thread(self._actions.progress, number))
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
        while not self._site.stopping.is_set():
            run, log = await in_file_thread(self._live, number)
            event = json.dumps({**self._site.pages.live(run), "log": log})
            # If nothing has changed, send a comment: only by writing can the server detect that the client closed the connection.
            await response.write(f"event: progress\ndata: {event}\n\n".encode() if event != last else b":\n\n")
            last = event
            if run.ended_at is not None:
                await response.write(b"event: end\ndata: {}\n\n")
                return
            try:
                await asyncio.wait_for(self._site.stopping.wait(), EVENT_EVERY_S)
            except TimeoutError:
                continue

    def _live(self, number: int) -> tuple[Run, str]:
        run = self._actions.progress(number)
        assert run is not None  # a run in progress is never deleted
        return run, self._actions.log(number)

    async def _stop_run(self, request: web.Request) -> web.Response:
        number = number_of(request)
        await act(partial(self._actions.stop_run, number))
        return redirect(f"/runs/{number}")
