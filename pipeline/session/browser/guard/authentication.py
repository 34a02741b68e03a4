"""Gives the guard proxy's credentials to a browser context.

Playwright can send a proxy's credentials, too, but it then intercepts every request of every page and disables the HTTP cache. Chromium asks
for a proxy's credentials only once in a context, and remembers them for whatever connects: pages, service workers, WebSockets, favicons.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pipeline.errors import BrowserError

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, CDPSession, Page

_TIMEOUT_S = 30.0


async def authenticate(context: BrowserContext, url: str, username: str, password: str) -> None:
    """Open a URL of the proxy itself in a page of the context, and answer the question for credentials.

    Raises BrowserError if the proxy does not accept them.
    """
    from playwright.async_api import Error  # noqa: PLC0415  # this module is loaded without Playwright, too

    failed = BrowserError("the browser cannot use its proxy in this process", fix="try again", retry=True)
    try:
        page = await context.new_page()
        status = await _sign_in(page, await context.new_cdp_session(page), url, {"username": username, "password": password})
        await page.close()
    except Error as error:
        raise failed from error
    if status != 200:
        raise failed


async def _sign_in(page: Page, devtools: CDPSession, url: str, credentials: dict[str, str]) -> int:
    """Open the URL, and return the status of the response."""
    answers = _Answers(devtools, credentials)
    devtools.on("Fetch.requestPaused", answers.on_request)
    devtools.on("Fetch.authRequired", answers.on_question)
    await devtools.send("Fetch.enable", {"handleAuthRequests": True})
    response = await page.goto(url, timeout=_TIMEOUT_S * 1000)
    await devtools.send("Fetch.disable")
    await answers.settled()
    await devtools.detach()
    return response.status if response is not None else 0


class _Answers:
    """Continues the requests of the page, and answers the proxy's question for credentials.

    No site can ask here: the URL is the proxy's.
    """

    def __init__(self, devtools: CDPSession, credentials: dict[str, str]) -> None:
        self._devtools = devtools
        self._credentials = credentials
        self._asked: set[str] = set()
        self._sending: set[asyncio.Task[Any]] = set()

    def on_request(self, event: dict[str, Any]) -> None:
        self._send("Fetch.continueRequest", {"requestId": event["requestId"]})

    def on_question(self, event: dict[str, Any]) -> None:
        request = event["requestId"]
        of_proxy = event["authChallenge"]["source"] == "Proxy" and request not in self._asked
        self._asked.add(request)
        answer = {"response": "ProvideCredentials", **self._credentials} if of_proxy else {"response": "CancelAuth"}
        self._send("Fetch.continueWithAuth", {"requestId": request, "authChallengeResponse": answer})

    async def settled(self) -> None:
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _send(self, method: str, arguments: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._devtools.send(method, arguments))
        self._sending.add(task)
