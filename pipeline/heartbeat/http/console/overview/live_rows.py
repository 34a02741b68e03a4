"""Sends the rows of the overview that changed to all browsers that show it, as server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping

from pipeline.heartbeat.http.console.overview.rows import OverviewRow

EVERY_S = 2.0
"""How often the status is compared with what was sent."""
STREAMS = 64
"""Maximum number of overviews that are live at the same time."""
_WAITING = 8
"""Maximum number of events that wait for a slow browser; the stream of a slower one ends, and the browser reloads the page."""

_log = logging.getLogger(__name__)

Overview = tuple[list[OverviewRow], str]
"""The rows, and the text of the page's head, which says how the whole pipeline is."""


class LiveRows:
    """Compares the overview with the last one, and gives what changed to each subscriber.

    A task reads the status only while there are subscribers, once for all of them. read: returns the current overview.
    render: returns the HTML of a row; it is called in a thread.
    """

    def __init__(self, read: Callable[[], Awaitable[Overview]], render: Callable[[OverviewRow], str]) -> None:
        self._read = read
        self._render = render
        self._shown: dict[str, tuple[object, ...]] = {}
        self._changed: dict[str, int] = {}
        self._rows: Mapping[str, OverviewRow] = {}
        self._head = ""
        self._number = 0
        self._subscribers: set[asyncio.Queue[str | None]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self._subscribers) >= STREAMS

    def note(self, rows: list[OverviewRow]) -> int:
        """Note the rows that a page shows. Return the number of this state, with which the page subscribes."""
        changed = [row for row in rows if self._shown.get(row.name) != row.shown]
        if changed or len(rows) != len(self._shown):
            self._number += 1
            self._shown = {row.name: row.shown for row in rows}
            self._changed = {name: number for name, number in self._changed.items() if name in self._shown} | dict.fromkeys(
                (row.name for row in changed), self._number)
        self._rows = {row.name: row for row in rows}
        return self._number

    async def subscribe(self, since: int) -> asyncio.Queue[str | None]:
        """Return a queue of events, which begins with what has changed since the state with the number `since`. None ends it."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(_WAITING)
        self._subscribers.add(queue)
        late = [self._rows[name] for name, number in self._changed.items() if number > since and name in self._rows]
        if late:
            queue.put_nowait(await self._event(late))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._compare(), name="overview-rows")
        return queue

    def unsubscribe(self, queue: asyncio.Queue[str | None]) -> None:
        self._subscribers.discard(queue)

    async def stop(self) -> None:
        for queue in list(self._subscribers):
            self._end(queue)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _compare(self) -> None:
        try:
            await self._send_changes()
        except Exception:  # noqa: BLE001  without this task, the streams would stay open and say nothing
            _log.exception("the live rows of the overview have ended because of a bug; browsers that show it connect again")
            for queue in list(self._subscribers):
                self._end(queue)

    async def _send_changes(self) -> None:
        """Send what has changed until nobody shows the overview any more."""
        while self._subscribers:
            await asyncio.sleep(EVERY_S)
            rows, head = await self._read()
            names, before = {row.name for row in rows}, self._number
            if names != set(self._shown):
                self.note(rows)
                self._send("event: reload\ndata: {}\n\n")
                continue
            self.note(rows)
            changed = [row for row in rows if self._changed.get(row.name, 0) > before]
            if changed or head != self._head:
                self._head = head
                self._send(await self._event(changed))
            else:
                self._send(":\n\n")  # only by writing can the server detect that a browser closed the connection

    async def _event(self, rows: list[OverviewRow]) -> str:
        html = await asyncio.to_thread(lambda: {row.name: self._render(row) for row in rows})
        return f"id: {self._number}\nevent: rows\ndata: {json.dumps({'rows': html, 'head': self._head})}\n\n"

    def _send(self, event: str) -> None:
        for queue in list(self._subscribers):
            if queue.full():
                self._end(queue)
            else:
                queue.put_nowait(event)

    def _end(self, queue: asyncio.Queue[str | None]) -> None:
        self._subscribers.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)
