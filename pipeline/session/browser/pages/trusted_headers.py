"""Adds the spider's headers, token and HTTP authentication to what pages request from trusted origins."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.session.session import Session

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Page


class TrustedHeaders:
    """The headers that a session adds to requests of trusted origins.

    Chromium repeats the headers of a request when it is redirected, also to another origin. So each request is looked at, each hop of a
    redirect too, and headers for other origins are removed. Frames of other sites, workers and WebSockets get no headers.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._given = {(name.lower(), value) for name, value in session.headers.items()}
        """The names and values that only trusted origins may get."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def are_needed(self) -> bool:
        """Whether there is any header to add. If not, no request is looked at, which saves a fifth of the time."""
        return bool(self._session.headers or self._session.auth is not None or self._session.token)

    async def add_to(self, page: Page, protocol: CDPSession) -> None:
        """From now on, add the headers to the requests of a page."""
        def paused(event: Mapping[str, Any]) -> None:
            task = asyncio.create_task(self._go_on(page, protocol, event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        protocol.on("Fetch.requestPaused", paused)
        await protocol.send("Fetch.enable", {"patterns": [{"urlPattern": "*", "requestStage": "Request"}]})

    async def _go_on(self, page: Page, protocol: CDPSession, event: Mapping[str, Any]) -> None:
        from playwright.async_api import Error  # noqa: PLC0415  loaded by now, since there is a page
        request = event["request"]
        headers = self.of(request["method"], request["url"], request["headers"], source=page.url)
        try:
            changed = {} if headers == request["headers"] else {"headers": [{"name": name, "value": value} for name, value in headers.items()]}
            await protocol.send("Fetch.continueRequest", {"requestId": event["requestId"], **changed})
        except Error:  # the request or the page has ended
            return

    def of(self, method: str, url: str, headers: Mapping[str, str], *, source: str) -> dict[str, str]:
        """Return the headers of a request as they may be sent. source: the URL of the page."""
        session = self._session
        wanted: dict[str, str] = dict(session.headers) if session.trusted.trust(url, source) else {}
        if session.auth is not None and (authorization := session.auth.header(method, url)):
            wanted["Authorization"] = authorization
        own = {name.lower() for name in headers}
        wanted = {name: value for name, value in wanted.items() if name.lower() not in own} | session.login_headers(url)
        self._given |= {(name.lower(), value) for name, value in wanted.items()}
        allowed = {(name.lower(), value) for name, value in (*session.headers.items(), *wanted.items())} if session.trusted.trust(url, source) else {
            (name.lower(), value) for name, value in wanted.items()}
        replaced = {name.lower() for name in wanted}
        kept = {name: value for name, value in headers.items()
                if name.lower() not in replaced and ((name.lower(), value) not in self._given or (name.lower(), value) in allowed)}
        return kept | wanted
