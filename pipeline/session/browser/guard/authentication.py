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
_FETCH = "url => fetch(url, {mode: 'no-cors'}).then(() => true, () => false)"
"""Requests a URL in a page that stays blank: a document of the proxy's would take the page's process, and the next site another one."""


async def authenticate(context: BrowserContext, url: str, username: str, password: str) -> Page:
    """Request a URL of the proxy itself in a page of the context, and answer the question for credentials. Return the page, which is still blank.

    Raises BrowserError if the proxy does not accept them.
    """
    from playwright.async_api import Error  # noqa: PLC0415  # this module is loaded without Playwright, too

    failed = BrowserError("the browser cannot use its proxy in this process", fix="try again", retry=True)
    try:
        page = await context.new_page()
        async with asyncio.timeout(_TIMEOUT_S):
            status = await _sign_in(page, await context.new_cdp_session(page), url, {"username": username, "password": password})
    except (Error, TimeoutError) as error:
        raise failed from error
    if status != 200:
        raise failed
    return page


async def _sign_in(page: Page, devtools: CDPSession, url: str, credentials: dict[str, str]) -> int:
    """Request the URL, and return the status of the response; 0 if there was none."""
    answers = _Answers(devtools, credentials)
    devtools.on("Fetch.requestPaused", answers.on_request)
    devtools.on("Fetch.authRequired", answers.on_question)
    patterns = [{"urlPattern": "*", "requestStage": stage} for stage in ("Request", "Response")]
    await devtools.send("Fetch.enable", {"handleAuthRequests": True, "patterns": patterns})
    arrived = await page.evaluate(_FETCH, url)
    await devtools.send("Fetch.disable")
    await answers.settled()
    await devtools.detach()
    return answers.status if arrived else 0


class _Answers:
    """Continues the requests of the page, and answers the proxy's question for credentials. status: that of the last response.

    No site can ask here: the URL is the proxy's.
    """

    def __init__(self, devtools: CDPSession, credentials: dict[str, str]) -> None:
        self._devtools = devtools
        self._credentials = credentials
        self._asked: set[str] = set()
        self._sending: set[asyncio.Task[Any]] = set()
        self.status = 0

    def on_request(self, event: dict[str, Any]) -> None:
        self.status = event.get("responseStatusCode", 0)
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
