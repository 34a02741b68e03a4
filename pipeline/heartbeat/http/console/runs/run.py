"""The pages of one run: its figures, its log, both live, and the button that stops it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, tzinfo
from functools import partial

from aiohttp import web

from pipeline.heartbeat.http.console.render.list_url import ListUrl
from pipeline.heartbeat.http.console.site import Site, act, number_in, number_of, or_404, redirect
from pipeline.heartbeat.http.operations import runs as operations
from pipeline.heartbeat.http.operations.runs import LiveLog, LogFilter
from pipeline.heartbeat.http.stored_files import in_file_thread
from pipeline.model import Run
from pipeline.store.files.log_lines import LEVELS, LogLine
from pipeline.store.runs import runs

EVENT_EVERY_S = 1.0
STREAMS = 64
"""Maximum number of live progress streams that are open at the same time."""


class RunViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._actions = site.actions
        self._streams = 0

    def add_to(self, router: web.UrlDispatcher) -> None:
        of_run = r"/runs/{id:\d{1,18}}"
        self._site.add_pages(router, {of_run: self._run, f"{of_run}/log": self._log, f"{of_run}/events": self._events})
        self._site.add_actions(router, {f"{of_run}/stop": self._stop_run})

    async def _run(self, request: web.Request) -> web.Response:
        found = or_404(await asyncio.to_thread(operations.details, self._actions.store, number_of(request)))
        log = await in_file_thread(partial(operations.log, self._actions.store, self._actions.mask, found.run))
        table = self._actions.settings.spiders.get(found.run.spider)
        return await self._site.html("runs/run.html", page=found, run=found.run, log=log,
                                     lines=dated(log.lines, self._site.pages.zone), wanted=LogFilter(), problems=operations.problems(found.run),
                                     known=table is not None, archives=table is not None and table.archive is not None, most_changes=operations.MOST_CHANGES)

    async def _log(self, request: web.Request) -> web.Response:
        """Show some lines of the log of a run: the last ones, or those before the byte `before`."""
        store, given = self._actions.store, request.query
        run = or_404(await asyncio.to_thread(runs.get_run, store, number_of(request)))
        wanted, before = _filter_of(given), number_in(given.get("before", ""))
        log = await in_file_thread(partial(operations.log, store, self._actions.mask, run, wanted, before=before, part=given.get("part", "")))
        part = given.get("part", "") if given.get("part") in log.parts else ""

        url = ListUrl(f"/runs/{run.id}/log", level=wanted.level if wanted.level != LEVELS[0] else "", q=wanted.text, part=part)
        return await self._site.html("runs/log.html", run=run, log=log, lines=dated(log.lines, self._site.pages.zone), wanted=wanted,
                                     levels=LEVELS[:-1], url=url, last=before is None, part=part)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send a run's progress as server-sent events: `progress` on every change, `log` for new lines, `end` when the run ends.

        Section 9.2 of the WHATWG HTML standard defines the format of the events. `after`: the byte of the log at which the page ends;
        the id of the last event replaces it when a browser connects again. `level`, `q`: which lines are wanted.
        """
        run = or_404(await asyncio.to_thread(runs.get_run, self._actions.store, number_of(request)))
        if self._streams >= STREAMS:
            return web.Response(status=503, text=f"error: {STREAMS} pages with live progress are open, the maximum; reload this page to see new progress\n")
        after = number_in(request.headers.get("Last-Event-ID", "")) or number_in(request.query.get("after", "")) or 0
        log = await in_file_thread(partial(LiveLog, self._actions.store, self._actions.mask, run, _filter_of(request.query), after=after))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._streams += 1
        try:
            await response.prepare(request)
            await self._stream(run.id, log, response, partial(self._site.authorizer.is_still_valid, request))
        except ConnectionError:  # the browser has closed the connection
            return response
        finally:
            self._streams -= 1
        return response

    async def _stream(self, number: int, log: LiveLog, response: web.StreamResponse, is_authorized: Callable[[], Awaitable[bool]]) -> None:
        last, day = "", ""
        while not self._site.stopping.is_set() and await is_authorized():
            run, new, event = await in_file_thread(self._live, number, log)
            # If nothing has changed, send a comment: only by writing can the server detect that the client closed the connection.
            await response.write(f"event: progress\ndata: {event}\n\n".encode() if event != last else b":\n\n")
            last = event
            if new:
                lines = dated(new, self._site.pages.zone, day)
                day = lines[-1][0] or day
                data = json.dumps({"html": await asyncio.to_thread(self._site.pages.render, "runs/_log_lines.html", mask=str, lines=lines)})
                await response.write(f"id: {log.position}\nevent: log\ndata: {data}\n\n".encode())
            if run.ended_at is not None:
                await response.write(b"event: end\ndata: {}\n\n")
                return
            try:
                await asyncio.wait_for(self._site.stopping.wait(), EVENT_EVERY_S)
            except TimeoutError:
                continue

    def _live(self, number: int, log: LiveLog) -> tuple[Run, list[LogLine], str]:
        run = runs.get_run(self._actions.store, number)
        assert run is not None  # a run in progress is never deleted
        return run, log.new_lines(run), json.dumps(self._site.pages.live(run, self._actions.mask))

    async def _stop_run(self, request: web.Request) -> web.Response:
        number = number_of(request)
        stopped = await act(partial(operations.stop, self._actions.store, number, now=self._actions.clock()))
        await asyncio.to_thread(self._actions.on_stop, stopped)
        return redirect(f"/runs/{number}")


def dated(lines: list[LogLine], zone: tzinfo, day: str = "") -> list[tuple[str, LogLine]]:
    """Return each line with its day in a time zone if this differs from the day of the line before, else with "". day: of the line before."""
    found = []
    for line in lines:
        own = _day(line.at, zone) or day
        found.append((own if own != day else "", line))
        day = own
    return found


def _day(at: datetime | None, zone: tzinfo) -> str:
    return at.astimezone(zone).date().isoformat() if at is not None else ""


def _filter_of(query: Mapping[str, str]) -> LogFilter:
    return LogFilter.of(query.get("level", ""), query.get("q", ""))
