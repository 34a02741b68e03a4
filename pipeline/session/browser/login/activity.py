"""What happens on a page: requests in flight, its document's status, whether it still changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from playwright.async_api import Error, Page, Request, Response

SETTLED_S = 1.0
"""A page without requests in flight that has not changed for so long, in seconds, is settled."""
STILL_S = 6.0
"""A page that has not changed for so long, in seconds, is settled even if requests are in flight, as with long polling."""
_LOOK_EVERY_S = 0.1
_STREAMS = frozenset({"websocket", "eventsource", "media", "ping"})

Found = TypeVar("Found")


class Activity:
    """A page, and what happens on it from the time of its creation on. status: the status of the last document of the page; 0 if there was none."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._in_flight: set[Request] = set()
        self.status = 0
        self._listeners: dict[Any, Callable[[Any], None]] = {
            "request": self._begun, "requestfinished": self._ended, "requestfailed": self._ended, "response": self._responded}
        for event, listener in self._listeners.items():
            page.on(event, listener)

    def close(self) -> None:
        """Watch the page no longer, because a page of the pool is used again."""
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)

    def _begun(self, request: Request) -> None:
        if request.resource_type not in _STREAMS:
            self._in_flight.add(request)

    def _ended(self, request: Request) -> None:
        self._in_flight.discard(request)

    def _responded(self, response: Response) -> None:
        with contextlib.suppress(Error):  # a response to a service worker has no frame
            if response.request.is_navigation_request() and response.frame == self.page.main_frame:
                self.status = response.status

    async def content(self) -> str:
        """Return the document of the page as HTML, with its current state; "" while another document replaces it."""
        try:
            return await self.page.content()
        except Error:
            if self.page.is_closed():
                raise
            return ""

    async def until(self, look: Callable[[str], Awaitable[Found | None]], *, timeout_s: float, settled_s: float = SETTLED_S) -> Found | None:
        """Call `look` with the document of the page until it returns something, and return that.

        Return None if the page is settled, or after timeout_s seconds. settled_s: how long the page must not change.
        """
        loop = asyncio.get_running_loop()
        begun_s = changed_s = busy_s = loop.time()
        before = ""
        while True:
            content = await self.content()
            if content and (found := await look(content)) is not None:
                return found
            now_s = loop.time()
            if content != before or not content:
                before, changed_s = content, now_s
            if self._in_flight:
                busy_s = now_s
            if now_s - max(changed_s, busy_s) >= settled_s or now_s - changed_s >= max(STILL_S, settled_s) or now_s - begun_s >= timeout_s:
                return None
            await asyncio.sleep(_LOOK_EVERY_S)
