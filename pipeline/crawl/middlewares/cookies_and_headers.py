"""Middlewares for cookies, request headers, Referer, page encoding, start requests and the SSRF check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest, NotConfigured, NotSupported
from scrapy.http import Request, Response, TextResponse
from scrapy.spidermiddlewares.referer import RefererMiddleware

from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import EPOCH, IS_RENDERED, START
from pipeline.errors import PipelineError
from pipeline.session import PreparedStart
from pipeline.session.cookies.cookie import own_cookies, with_own
from pipeline.session.cookies.jar import Jar
from pipeline.session.responses.encodings import declared_encoding, detected_encoding
from pipeline.session.trusted_origins import origin_of, referer_for


class _Middleware:
    def __init__(self, crawler: Crawler) -> None:
        self._context = context_of(crawler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)


class RefusePrivateAddresses(_Middleware):
    """Refuses URLs with a private IP address.

    The download handler checks the addresses that host names resolve to.
    """

    def process_request(self, request: Request) -> None:
        try:
            self._context.session.ssrf_guard.check_url(request.url)
        except PipelineError as error:  # Scrapy's exception for the middlewares and errbacks of the spider; the cause marks the page as failed
            raise (IgnoreRequest if request.url.startswith("http") else NotSupported)(error.what) from error


class SessionCookies(_Middleware):
    """Sends and stores cookies with the session's cookie jar, which the login and the downloads also use.

    Requests with the meta key `cookiejar` use further jars, one for each value of the key, which are only in memory.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        if not crawler.settings.getbool("COOKIES_ENABLED") and self._context.session.login_state is None:
            raise NotConfigured
        self._jars: dict[Any, Jar] = {}

    def _jar(self, request: Request) -> Jar:
        name = request.meta.get("cookiejar")
        if name is None:
            return self._context.session.jar
        if name not in self._jars:
            self._jars[name] = Jar()
        return self._jars[name]

    def process_request(self, request: Request) -> None:
        if request.meta.get("dont_merge_cookies"):
            return
        header = self._jar(request).header(request.url)
        if request.cookies:
            header = with_own(header, own_cookies(request.cookies))
        if header:
            request.headers["Cookie"] = header
        else:
            request.headers.pop("Cookie", None)

    def process_response(self, request: Request, response: Response) -> Response:
        login_state = self._context.session.login_state
        if login_state is not None and login_state.is_stale(request.meta.get(EPOCH, 0)):
            return response  # the request was sent before the last login: the response's cookies would replace those of the new login
        if b"Set-Cookie" in response.headers and not request.meta.get("dont_merge_cookies"):
            self._jar(request).store(request.url, response.headers.getlist("Set-Cookie"), served=response.headers.get("Date") or b"")
        return response


class FillStartRequest(_Middleware):
    """Adds the method, body, headers and cookies of a start request from the settings.

    These values come from the settings and are never written to the store.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        if all(start == PreparedStart("GET", start.url) for start in self._context.starts):
            raise NotConfigured

    def process_request(self, request: Request) -> Request | None:
        index = request.meta.get(START)
        if index is None or index >= len(self._context.starts):
            return None
        start: PreparedStart = self._context.starts[index]
        if request.meta.get(_FILLED):
            if origin_of(request.url) != origin_of(start.url) and not self._context.session.trusted.trust(request.url, _source(request)):
                _remove(request, dict(start.headers))  # another origin must not receive these headers
            return None
        return request.replace(method=start.method, body=start.body, cookies=start.cookies,
                               headers={**request.headers, **dict(start.headers)},
                               meta={**request.meta, _FILLED: True})


class SpiderHeaders(_Middleware):
    """Adds the spider's request headers and the API token of its login to requests, but only for trusted origins."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        login = self._context.table.login
        if not self._context.session.headers and (login is None or login.token is None):
            raise NotConfigured

    def process_request(self, request: Request) -> None:
        session = self._context.session
        if session.trusted.trust(request.url, _source(request)):
            for name, value in session.headers.items():
                request.headers.setdefault(name, value)
        else:
            _remove(request, session.headers)
        token = session.login_headers(request.url)
        for name in set(request.meta.get(_TOKEN, ())) - set(token):
            request.headers.pop(name, None)
        if token:
            request.headers.update(token)
            request.meta[_TOKEN] = list(token)


class RefererPolicy(_Middleware):
    """Applies the referrer policy strict-origin-when-cross-origin to the Referer header of every request."""

    def process_request(self, request: Request) -> None:
        sources = request.headers.getlist(b"Referer")
        if not sources:
            return
        referer = referer_for(sources[0].decode("latin-1"), request.url).encode()
        if not referer:
            del request.headers[b"Referer"]
        elif sources != [referer]:
            request.headers[b"Referer"] = referer


def _source(request: Request) -> str:
    """Return the URL that redirected to this request; "" if the request was not caused by a redirect."""
    return str((request.meta.get("redirect_urls") or [""])[-1])


_FILLED = "pipeline_filled"
_TOKEN = "pipeline_token_headers"  # noqa: S105  a meta key, no password


def _remove(request: Request, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if (request.headers.get(name) or b"").decode("latin-1") == value:
            del request.headers[name]


class PageEncoding(_Middleware):
    """Sets the encoding of a page by the same rules as logins and `pipeline try`.

    Scrapy itself would accept unknown encoding labels, and fail when it decodes the page.
    """

    def process_response(self, request: Request, response: Response) -> Response:
        if not isinstance(response, TextResponse) or IS_RENDERED in response.flags:
            return response
        content_type = (response.headers.get("Content-Type") or b"").decode("latin-1")
        encoding = declared_encoding(response.body, content_type, self._override(request))
        if encoding is None:
            return response.replace(encoding=detected_encoding(response.body, content_type))
        return response if response.encoding == encoding else response.replace(encoding=encoding)

    def _override(self, request: Request) -> str | None:
        """Return the encoding in the settings of the start request, or else of the spider; None if neither is set."""
        index, starts = request.meta.get(START), self._context.table.start
        own = starts[index].encoding if index is not None and index < len(starts) else None
        return own or self._context.table.encoding


class RefererOnRedirects(RefererMiddleware):
    """Sets the Referer header of redirects only.

    Unlike Scrapy's middleware, this class does not process the output of callbacks.
    """

    process_spider_output = None  # type: ignore[assignment]
    process_spider_output_async = None  # type: ignore[assignment]
