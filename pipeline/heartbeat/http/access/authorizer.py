"""Authorizes HTTP requests: token, session, feed key, and CSRF checks for forms.

Signs browsers in and out.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from aiohttp import web

from pipeline.errors import PipelineError
from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.http.access.audit import AUDITED, Audit, Audited, action_and_target
from pipeline.heartbeat.http.access.caller import Caller
from pipeline.heartbeat.http.access.identifier import CALLER, HttpConnection, Identifier, TooManyWrongTokensError
from pipeline.heartbeat.http.access.sessions import Sessions
from pipeline.heartbeat.http.access.token_verifier import TokenVerifier
from pipeline.heartbeat.http.access.wrong_tokens import WrongTokens
from pipeline.heartbeat.http.console.render.renderer import PageRenderer
from pipeline.heartbeat.http.request_bodies import field_of
from pipeline.heartbeat.http.request_threads import in_request_thread
from pipeline.heartbeat.token import same_secret
from pipeline.store.access.api_tokens import hash_of

FAILURE: web.ResponseKey[str] = web.ResponseKey("failure", str)
"""The key under which a response that is a page has the error for the audit log."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Authorizer:
    """Decides which requests are authorized. Identifier finds out who sends them.

    tokens, sessions: see Identifier. audit: where actions, sign-ins and sign-outs are recorded. page_above: returns the nearest page above a
    path that still exists. body_s: maximum seconds until a submitted form has arrived completely.
    """

    def __init__(self, access: AccessPolicy, pages: PageRenderer, connection_of: Callable[[web.Request], HttpConnection | None], *,
                 body_s: float, tokens: TokenVerifier | None = None, sessions: Sessions | None = None, audit: Audit | None = None,
                 page_above: Callable[[str], str] = lambda path: "/") -> None:
        self._body_s = body_s
        self._access = access
        self._pages = pages
        self._sessions = sessions
        self._audit = audit
        self._page_above = page_above
        self._wrong = WrongTokens(time.monotonic)
        self._identifier = Identifier(access, connection_of, tokens=tokens, sessions=sessions, wrong=self._wrong)

    async def identify(self, request: web.Request) -> Caller | None:
        """Find out who sends a request, once for each request; `caller_of` returns the result afterwards."""
        return await self._identifier.identify(request)

    @staticmethod
    def caller_of(request: web.Request) -> Caller | None:
        """Return who sends a request; None if the request has no valid token."""
        return request.get(CALLER)

    async def is_still_valid(self, request: web.Request) -> bool:
        """Return whether the token or the session of a request is valid still; a stream of events asks before each of them."""
        return await self._identifier.is_still_valid(request)

    @property
    def csrf_token(self) -> str:
        """The CSRF token of the session whose request is being handled, which each form on its pages contains as a hidden field."""
        return self._identifier.csrf_token

    @property
    def may_act(self) -> bool:
        """Whether the sender of the request that is being handled may change something; pages show no buttons to others."""
        return self._identifier.may_act

    @property
    def feed_key(self) -> str:
        return self._access.token.feed_key if self._access.token is not None else ""

    @property
    def service_id(self) -> str:
        """An identifier of this service, different for each service."""
        return self._access.token.cookie_name if self._access.token is not None else ""

    def may_read_status(self, request: web.Request) -> bool:
        return self._identifier.may_read_status(request)

    def is_authorized(self, request: web.Request) -> bool:
        return self.caller_of(request) is not None

    def for_status(self, handler: Handler) -> Handler:
        """Wrap `handler` to refuse requests without the token from clients that need it to read the status."""
        async def answer(request: web.Request) -> web.StreamResponse:
            if self.may_read_status(request) or self.is_authorized(request):
                return await handler(request)
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="pipeline"'},
                                text="error: a request from another machine needs the token, which `pipeline url` prints; "
                                     "send the header Authorization: Bearer …\n")
        return answer

    def for_pages(self, handler: Handler) -> Handler:
        """Wrap `handler` to refuse requests without the token."""
        async def answer(request: web.Request) -> web.StreamResponse:
            return await handler(request) if self.is_authorized(request) else self.locked(request)
        return answer

    def for_feeds(self, handler: Handler) -> Handler:
        """Wrap `handler` to refuse requests that have neither the token nor the feed key in the URL.

        The feed key is for feed readers, which cannot send a cookie or a header.
        """
        async def answer(request: web.Request) -> web.StreamResponse:
            token = self._access.token
            if self.is_authorized(request) or (token is not None and token.matches_feed_key(request.query.get("key", ""))):
                return await handler(request)
            return web.Response(status=403, text="error: the key in the URL of this feed is missing or wrong; copy the URL of the feed from the overview page\n")
        return answer

    def for_actions(self, handler: Handler) -> Handler:
        """Wrap `handler` to refuse requests without a token that may act, and requests triggered by another web site.

        A browser that is authorized by the login cookie must submit a form of this service (CSRF protection). A request with
        the token in the Authorization header is exempt, because no web site can make a browser send this header. Each action is
        written to the audit log, whether it was performed, failed or was refused.
        """
        async def answer(request: web.Request) -> web.StreamResponse:
            caller = self.caller_of(request)
            if caller is None:
                return self.locked(request)
            if not caller.may_act:
                await self._record(caller, request, "refused: the token is read-only")
                return await self._refused(caller, "this token may only read; create one that may act with `pipeline token create NAME`", request)
            if not caller.by_header and not await self._is_our_form(request, caller):
                await self._record(caller, request, "refused: the form was not on a page of this service")
                return await self._refused(caller, "the request did not come from a page of this service; go back, reload the page and press the button again", request)
            try:
                response = await handler(request)
            except web.HTTPException as error:
                await self._record(caller, request, f"failed: {error.status} {error.reason}")
                raise
            failure = response.get(FAILURE) or (response.text if response.status >= 400 and isinstance(response, web.Response) else None)
            await self._record(caller, request, f"failed: {failure.strip()}" if failure else "done")
            return response
        return answer

    async def _refused(self, caller: Caller, error: str, request: web.Request) -> web.Response:
        """Return the response to an action that is refused: for a browser a page, for a script a line."""
        if caller.by_header:
            return web.Response(status=403, text=f"error: {error}\n")
        return await self._problem(caller, 403, error, request)

    async def error_page(self, request: web.Request, error: web.HTTPException) -> web.Response | None:
        """Return a page for a browser that has signed in, from which a person can go on; None for other clients."""
        caller = self.caller_of(request)
        if caller is None or caller.by_header or request.method not in ("GET", "POST"):
            return None
        return await self._problem(caller, error.status, f"{error.status} {error.reason}", request)

    async def _problem(self, caller: Caller, status: int, error: str, request: web.Request) -> web.Response:
        page = self._pages.render("problem.html", mask=str, authorized=True, csrf_token=caller.csrf_token, error=error, back=await self.page_above(request.path),
                                  missing=status == 404, acted=request.method == "POST")
        return web.Response(status=status, text=page, content_type="text/html")

    async def page_above(self, path: str) -> str:
        """Return the page to which a person goes back from an error at a path: the nearest one above it that still exists."""
        return await in_request_thread(self._page_above, path)

    async def _record(self, caller: Caller, request: web.Request, outcome: str) -> None:
        if self._audit is not None:
            action, target = action_and_target(request.path)
            said = request.get(AUDITED, Audited())
            await self._audit.write(caller, action, said.target or target, said.outcome or outcome)

    async def _write(self, caller: Caller, action: str, outcome: str) -> None:
        if self._audit is not None:
            await self._audit.write(caller, action, "pages", outcome)

    def locked(self, request: web.Request, *, wrong: bool = False, wait_s: int = 0) -> web.Response:
        """Return the page that asks for the token. wrong: whether the given one is wrong. wait_s: how long none is examined; 0 if one may be given.

        A browser sends no SameSite=Strict cookie when a link on another site, such as a web mail, leads here. The page is therefore
        loaded once more, which makes it a request of this site.
        """
        again = request.method == "GET" and request.headers.get("Sec-Fetch-Site") == "cross-site" and not request.query
        page = request.query.get("next", "") if request.path in ("/", "/enter") else _page_of(request)
        text = self._pages.locked(wrong=wrong, again=again, page=page, ended=self._identifier.has_ended_session(request), wait_s=wait_s,
                                  lost=request.method == "POST" and request.path != "/enter")
        return web.Response(status=429 if wait_s else 403, text=text, content_type="text/html", headers={"Retry-After": str(wait_s)} if wait_s else {})

    async def log_in(self, request: web.Request, given: str) -> web.Response:
        """Start a session, and redirect to a page whose URL does not contain the token.

        This is the page that the browser asked for before, or the overview page. If the given token is wrong, return the page that asks for
        the token. Each sign-in gets a new session; the one that the browser had before ends.
        """
        client = self._identifier.client_of(request)
        try:
            caller = await self._identifier.with_token(given, client)
        except TooManyWrongTokensError as error:
            return self.locked(request, wait_s=int(error.headers["Retry-After"]))
        if caller is None or self._sessions is None:
            if given and self._wrong.count(client.address, given):
                await self._write(Caller("unknown", "read", client.address or "Unix socket"), "sign-in", "refused: the token is wrong")
            return self.locked(request, wrong=True)
        try:
            before = self.caller_of(request)
            if before is not None and before.session:
                await self._sessions.end(before.session)
            cookie, _ = await self._sessions.start(hash_of(given), caller.name, caller.source)
        except PipelineError as error:
            return web.Response(status=503, text=f"error: the sign-in could not be stored: {error}\n")
        await self._write(caller, "sign-in", "done")
        response = web.Response(status=303, headers={"Location": _own_path(request.query.get("next", ""))})
        response.set_cookie(self._identifier.cookie_name(request), cookie, httponly=True, samesite="Strict", path="/",
                            max_age=self._sessions.cookie_age_s, secure=self._identifier.is_secure(request))
        return response

    async def log_in_by_form(self, request: web.Request) -> web.StreamResponse:
        return await self.log_in(request, (await self._field(request, "token")).strip())

    async def log_out(self, request: web.Request) -> web.StreamResponse:
        """End the session of the browser, and delete its cookie."""
        caller = self.caller_of(request)
        if caller is not None and caller.session and self._sessions is not None:
            if not await self._is_our_form(request, caller):
                return web.Response(status=403, text="error: the request did not come from a page of this service; go back and reload the page\n")
            try:
                await self._sessions.end(caller.session)
            except PipelineError as error:
                return web.Response(status=503, text=f"error: the session could not be ended: {error}\n")
            await self._write(caller, "sign-out", "done")
        response = web.Response(status=303, headers={"Location": "/"})
        response.del_cookie(self._identifier.cookie_name(request), path="/", httponly=True, samesite="Strict", secure=self._identifier.is_secure(request))
        return response

    async def _field(self, request: web.Request, name: str) -> str:
        return await field_of(request, name, timeout_s=self._body_s)

    async def _is_our_form(self, request: web.Request, caller: Caller) -> bool:
        """Check by Origin header and CSRF token whether a form was submitted on a page of this service.

        A cookie with SameSite=Strict is not sufficient, because browsers regard all ports of a host as the same site. A proxy may send
        another Host header than the browser did; the origin is then that of the public URL.
        """
        origin = request.headers.get("Origin")
        if origin is not None and _host_of(origin) != request.headers.get("Host", "").lower() and origin.lower() != self._access.public_url.lower():
            return False
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return False
        return bool(caller.csrf_token) and same_secret(await self._field(request, "proof"), caller.csrf_token)


def _page_of(request: web.Request) -> str:
    """Return the path of the page on which a request was made: its own, or the one above that of a button."""
    return request.path if request.method == "GET" else request.path.rpartition("/")[0] or "/"


def _own_path(path: str) -> str:
    """Return a path in the form of a Location header; "/" if a browser could take it for the URL of another server."""
    return quote(path) if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
