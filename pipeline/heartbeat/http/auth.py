"""The gate before the pages: a token in a link becomes a cookie, and no other page can act in a visitor's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web

from pipeline.heartbeat.access import Access
from pipeline.heartbeat.http.pages import Pages
from pipeline.heartbeat.http.request_bodies import field_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COOKIE_AGE_S = 365 * 86400


class Visit(Protocol):
    """The connection a request came by. takes_no_more: no request follows on it; trusted: its address needs no
    token for the status; secure: TLS."""

    @property
    def takes_no_more(self) -> bool: ...
    trusted: bool
    secure: bool

    def request_began(self) -> None: ...

    def body_refused(self) -> None: ...

    def request_answered(self) -> None: ...


class Gate:
    """Decides who gets in. The token comes as a cookie, or as `Authorization: Bearer …` (RFC 6750) from scripts.

    body_s: how long a form may take to arrive.
    """

    def __init__(self, access: Access, pages: Pages, visit: Callable[[web.Request], Visit | None], *,
                 body_s: float) -> None:
        self._body_s = body_s
        self._access = access
        self._pages = pages
        self._visit = visit

    @property
    def proof(self) -> str:
        """What our own forms carry."""
        return self._access.token.proof if self._access.token is not None else ""

    @property
    def feed_key(self) -> str:
        return self._access.token.feed if self._access.token is not None else ""

    @property
    def service(self) -> str:
        """What tells this service from others."""
        return self._access.token.cookie_name if self._access.token is not None else ""

    def trusts(self, request: web.Request) -> bool:
        visit = self._visit(request)
        return visit is not None and visit.trusted

    def is_open(self, request: web.Request) -> bool:
        token = self._access.token
        return self._bears_token(request) or (
            token is not None and token.is_cookie(request.cookies.get(token.cookie_name, "")))

    def for_status(self, handler: Handler) -> Handler:
        """Answer this machine; others show the token."""
        async def answer(request: web.Request) -> web.StreamResponse:
            if self.trusts(request) or self.is_open(request):
                return await handler(request)
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="pipeline"'},
                                text="error: from another machine this needs the token (`pipeline url` shows it): "
                                     "Authorization: Bearer …\n")
        return answer

    def for_pages(self, handler: Handler) -> Handler:
        """Answer whoever has the token."""
        async def answer(request: web.Request) -> web.StreamResponse:
            return await handler(request) if self.is_open(request) else self.locked(request)
        return answer

    def for_feeds(self, handler: Handler) -> Handler:
        """Answer whoever has the token or the key of the feeds, which a reader sends in the address."""
        async def answer(request: web.Request) -> web.StreamResponse:
            token = self._access.token
            if self.is_open(request) or (token is not None and token.reads_feeds(request.query.get("key", ""))):
                return await handler(request)
            return web.Response(status=403, text="error: a feed needs its key; its address is on the pages\n")
        return answer

    def for_actions(self, handler: Handler) -> Handler:
        """Do it for whoever has the token and, in a browser, pressed the button on a page of ours."""
        async def answer(request: web.Request) -> web.StreamResponse:
            if not self.is_open(request):
                return self.locked(request)
            if not self._bears_token(request) and not await self._is_our_form(request):
                return web.Response(status=403, text="error: this did not come from a page of this service; "
                                                     "go back, reload the page and press the button again\n")
            return await handler(request)
        return answer

    def locked(self, request: web.Request, *, wrong: bool = False) -> web.Response:
        return web.Response(status=403, text=self._pages.locked(wrong=wrong), content_type="text/html")

    def entered(self, request: web.Request, word: str) -> web.Response:
        """The way in: the cookie, and on to the overview without the token in the address."""
        token = self._access.token
        if token is None or not token.opens(word):
            return self.locked(request, wrong=True)
        visit = self._visit(request)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(token.cookie_name, token.cookie, httponly=True, samesite="Strict", path="/",
                            max_age=COOKIE_AGE_S, secure=visit is not None and visit.secure)
        return response

    async def _field(self, request: web.Request, name: str) -> str:
        return await field_of(request, name, timeout_s=self._body_s)

    async def enter(self, request: web.Request) -> web.StreamResponse:
        return self.entered(request, (await self._field(request, "token")).strip())

    def _bears_token(self, request: web.Request) -> bool:
        kind, _, word = request.headers.get("Authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._access.opens(word.strip())

    async def _is_our_form(self, request: web.Request) -> bool:
        """SameSite=Strict does not tell ports apart, so the origin and the form's proof are looked at as well."""
        origin = request.headers.get("Origin")
        if origin is not None and _host_of(origin) != request.headers.get("Host", "").lower():
            return False
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return False
        token = self._access.token
        return token is not None and token.proves(await self._field(request, "proof"))


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
