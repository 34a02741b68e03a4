"""Finds out who sends a request: the client's address behind proxies, and the token or the session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.http.access.caller import Caller
from pipeline.heartbeat.http.access.client_address import Client, client_of
from pipeline.heartbeat.http.access.sessions import Sessions
from pipeline.heartbeat.http.access.token_verifier import TokenVerifier
from pipeline.heartbeat.http.access.wrong_tokens import WrongTokens
from pipeline.store.access.api_tokens import hash_of

CALLER: web.RequestKey[Caller | None] = web.RequestKey("caller")
"""The key under which a request has its Caller, once `identify` was called."""
USER_HEADER = "Pipeline-User"
"""The header with which commands of this program say which Unix user has called them."""
_CLIENT: web.RequestKey[Client] = web.RequestKey("client")
_CURRENT: ContextVar[Caller | None] = ContextVar("caller", default=None)


_log = logging.getLogger("pipeline")


class HttpConnection(Protocol):
    """The connection on which a request arrived.

    is_last_request: whether the connection closes after this request. has_sent_too_much: whether nothing more is read, because the
    client has sent too much before it got a response. trusted: whether the client may read the status
    without a token. secure: whether the connection uses TLS.
    """

    @property
    def is_last_request(self) -> bool: ...
    @property
    def has_sent_too_much(self) -> bool: ...
    trusted: bool
    secure: bool

    def request_started(self) -> None: ...

    def body_refused(self) -> None: ...

    def response_ready(self) -> None: ...


class TooManyWrongTokensError(web.HTTPTooManyRequests):
    """The address has sent too many wrong tokens. wait_s: when it may send one again."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(headers={"Retry-After": str(wait_s)})


class Identifier:
    """Identifies the senders of requests.

    A browser sends the cookie of its session, a script the header `Authorization: Bearer TOKEN` (RFC 6750). tokens: verifies API tokens;
    None means that only the token in data_dir is accepted. sessions: None means that no cookie is accepted.
    """

    def __init__(self, access: AccessPolicy, connection_of: Callable[[web.Request], HttpConnection | None], *, tokens: TokenVerifier | None,
                 sessions: Sessions | None, wrong: WrongTokens) -> None:
        self._access = access
        self._connection_of = connection_of
        self._tokens = tokens
        self._sessions = sessions
        self._wrong = wrong
        self._told_of_proxy = False

    async def identify(self, request: web.Request) -> Caller | None:
        """Find out who sends a request. Raises HTTPException if the request is refused for the address that it comes from."""
        request[CALLER] = None
        _CURRENT.set(None)
        try:
            client = request[_CLIENT] = client_of(request.remote or "", request.headers, self._access.is_proxy)
        except ValueError as error:
            raise web.HTTPBadRequest(reason="The proxy must write IP addresses into X-Forwarded-For") from error
        if client.forwarded and not self._access.may_connect(client.address):
            raise web.HTTPForbidden
        found = request[CALLER] = await self._caller(request, client)
        if found is not None and client.hidden and not self._told_of_proxy and self._access.public_url.startswith("https:"):
            self._told_of_proxy = True  # only of a request with a token: others may write such a header without any proxy
            _log.warning("heartbeat: a proxy at %s forwards requests, and trusted_proxies does not name it: all people behind it count as one client; "
                         "set trusted_proxies = [\"%s\"]", *[client.address or "the Unix socket"] * 2)
        _CURRENT.set(found)
        return found

    async def is_still_valid(self, request: web.Request) -> bool:
        """Return whether the token or the session of an identified request is valid still. A response that goes on is no use of the session."""
        try:
            return await self._caller(request, request[_CLIENT], is_use=False) is not None
        except TooManyWrongTokensError:
            return False

    async def _caller(self, request: web.Request, client: Client, *, is_use: bool = True) -> Caller | None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            local = self._access.is_local(client.address) and not client.hidden
            found = await self.with_token(given.strip(), client, limited=not local)
            if found is None and not local:
                self._wrong.count(client.address, given.strip())
            return found.as_user(request.headers.get(USER_HEADER, "")) if found is not None else None
        cookie = request.cookies.get(self.cookie_name(request), "")
        session = await self._sessions.find(cookie, is_use=is_use) if self._sessions is not None else None
        if session is None or self._sessions is None or self._access.token is None:
            return None
        if session.token_hash == hash_of(self._access.token.reveal()):
            found = Caller.main(_source_of(client))
        else:
            token = await self._tokens.valid(session.token_hash) if self._tokens is not None else None
            if token is None:
                return None
            found = Caller(token.name, token.scope, _source_of(client))
        return found.in_session(session.id_hash, self._sessions.csrf_token(cookie))

    async def with_token(self, given: str, client: Client, *, limited: bool = True) -> Caller | None:
        """Return the caller that a token stands for; None if it is wrong.

        Raises TooManyWrongTokensError without examining the token, if `limited` and the address has sent too many wrong ones.
        """
        if limited and (wait_s := self._wrong.wait_s(client.address)):
            raise TooManyWrongTokensError(wait_s)
        if self._access.accepts_token(given):
            return Caller.main(_source_of(client))
        found = await self._tokens.verify(given) if self._tokens is not None else None
        return Caller(found.name, found.scope, _source_of(client)) if found is not None else None

    def has_ended_session(self, request: web.Request) -> bool:
        """Return whether the browser has the cookie of a session that has ended."""
        return request[CALLER] is None and bool(request.cookies.get(self.cookie_name(request)))

    @staticmethod
    def client_of(request: web.Request) -> Client:
        """Return where an identified request comes from."""
        return request[_CLIENT]

    @property
    def csrf_token(self) -> str:
        """The CSRF token of the session that sends the request which is being handled; "" if there is none."""
        caller = _CURRENT.get()
        return caller.csrf_token if caller is not None else ""

    @property
    def may_act(self) -> bool:
        """Whether the sender of the request which is being handled may change something; False for a read-only token."""
        caller = _CURRENT.get()
        return caller is not None and caller.may_act

    def may_read_status(self, request: web.Request) -> bool:
        """Return whether a request needs no token to read the status. Behind a proxy, the address of the client decides."""
        client, connection = request[_CLIENT], self._connection_of(request)
        if client.forwarded or client.hidden:
            return self._access.open_status or (not client.hidden and self._access.is_local(client.address))
        return connection is not None and connection.trusted

    def is_secure(self, request: web.Request) -> bool:
        """Return whether the browser uses TLS: with this server, with a trusted proxy, or because it used the public URL."""
        connection = self._connection_of(request)
        public = urlsplit(self._access.public_url)
        return ((connection is not None and connection.secure) or request[_CLIENT].https
                or (public.scheme == "https" and public.netloc.lower() == request.headers.get("Host", "").lower()))

    def cookie_name(self, request: web.Request) -> str:
        """Return the name of the login cookie. Over TLS its prefix keeps other servers of the domain from setting it (RFC 6265bis, 4.1.3.2)."""
        name = self._access.token.cookie_name if self._access.token is not None else ""
        return f"__Host-{name}" if self.is_secure(request) else name


def _source_of(client: Client) -> str:
    return client.address or "Unix socket"
