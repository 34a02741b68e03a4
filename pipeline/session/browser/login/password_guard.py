"""Refuses requests of a page that carry a password to an origin that must not receive it.

Such requests are forms and fetches with the password in their body or URL, redirects that repeat the body (307, 308), and messages of
WebSockets. A script of the site could send a password in a form that `SecretForms` does not find; the script itself comes from an origin that may receive it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Self

from playwright.async_api import CDPSession, Error, Page, Request, Response, WebSocketRoute

from pipeline.secret_forms import SecretForms

_MOST_REFUSED = 100
SHORTEST = 4
"""Shorter passwords are not searched for, because they turn up by chance."""


class PasswordGuard:
    """Watches the requests of one page for passwords.

    passwords: the passwords in plain text; trust: returns whether a URL may receive them, given the URL of the page.
    refused: the URLs of the refused requests. answer: the response to the last request that carried a password, if it was not a
    document.
    """

    def __init__(self, page: Page, passwords: Iterable[str], trust: Callable[[str, str], bool]) -> None:
        self._page = page
        self._forms = SecretForms((password for password in passwords if len(password) >= SHORTEST), shortest=SHORTEST)
        self._trust = trust
        self._sessions: list[CDPSession] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused: list[str] = []
        self.answer: Response | None = None

    async def __aenter__(self) -> Self:
        if self._forms:
            await self._watch(await self._page.context.new_cdp_session(self._page))
            await self._page.route_web_socket(lambda url: not self._trust(_http(url), self._page.url), self._filter)
        self._page.on("response", self._responded)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._page.remove_listener("response", self._responded)
        for session in self._sessions:
            with contextlib.suppress(Error):
                await session.detach()

    async def _watch(self, session: CDPSession) -> None:
        """Pause each request, redirects included (Chrome DevTools Protocol, Fetch.requestPaused)."""
        self._sessions.append(session)

        def paused(event: dict[str, Any]) -> None:
            task = asyncio.create_task(self._decide(session, event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        session.on("Fetch.requestPaused", paused)
        await session.send("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})

    async def watch_frame(self, frame: Any) -> None:
        """Also watch a frame of another site, which has a process of its own."""
        if self._forms and frame is not self._page.main_frame:
            with contextlib.suppress(Error):  # it has none
                await self._watch(await self._page.context.new_cdp_session(frame))

    async def _decide(self, session: CDPSession, event: dict[str, Any]) -> None:
        request = event["request"]
        with contextlib.suppress(Error):  # the page has gone away
            if self._carries(request["url"], _body(request)) and not self._trust(request["url"], self._page.url):
                self._refuse(request["url"])
                await session.send("Fetch.failRequest", {"requestId": event["requestId"], "errorReason": "BlockedByClient"})
            else:
                await session.send("Fetch.continueRequest", {"requestId": event["requestId"]})

    def _refuse(self, url: str) -> None:
        if len(self.refused) < _MOST_REFUSED:  # the first one ends the login
            self.refused.append(url)

    def _carries(self, url: str, body: bytes) -> bool:
        return self._forms.are_in(url.encode()) or self._forms.are_in(body)

    def _filter(self, socket: WebSocketRoute) -> None:
        """Connect a WebSocket to another origin, but refuse messages that carry a password."""
        server = socket.connect_to_server()

        def sent(message: str | bytes) -> None:
            data = message.encode() if isinstance(message, str) else message
            if self._carries("", data):
                self._refuse(_http(socket.url))
            else:
                server.send(message)

        socket.on_message(sent)

    def _responded(self, response: Response) -> None:
        with contextlib.suppress(Error, UnicodeDecodeError):
            request: Request = response.request
            if request.is_navigation_request():
                if request.method == "POST":
                    self.answer = None
            elif (body := request.post_data_buffer) and self._carries("", body):
                self.answer = response


def _http(url: str) -> str:
    return f"http{url.removeprefix('ws')}" if url.startswith("ws") else url


def _body(request: dict[str, Any]) -> bytes:
    if entries := request.get("postDataEntries"):
        return b"".join(base64.b64decode(entry.get("bytes", "")) for entry in entries)
    return str(request.get("postData", "")).encode()
