"""Follow redirects of pages, and parse the Location header as browsers do (URL Standard)."""

from __future__ import annotations

from typing import NoReturn

from scrapy.downloadermiddlewares.redirect import RedirectMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Request, Response

from pipeline.crawl.context import context_of
from pipeline.errors import FetchError
from pipeline.session.errors import TOO_MANY_REDIRECTS, TOO_MANY_REDIRECTS_FIX
from pipeline.session.trusted_origins import origin_of
from pipeline.text import clean_line
from pipeline.urls import redirect_target

_FOLLOWED = frozenset({301, 302, 303, 307, 308})


class Redirects(RedirectMiddleware):
    """Follows redirects as Scrapy's redirect middleware does, but with this program's URL parser.

    A page fails if it redirects to an invalid URL.
    """

    def process_response(self, request: Request, response: Response) -> Request | Response:  # type: ignore[override]
        location = response.headers.get("Location")
        if location is None or response.status not in _FOLLOWED:
            return response
        target = redirect_target(location, request.url)
        headers = response.headers.copy()
        headers["Location"] = target or request.url
        try:
            result = super().process_response(request, response.replace(headers=headers))
        except IgnoreRequest:
            _fail(request, TOO_MANY_REDIRECTS, TOO_MANY_REDIRECTS_FIX)
        if not isinstance(result, Request):  # the spider handles this status itself
            return response
        if not target:
            _fail(request, f"the server redirected to an invalid or unsupported URL: {clean_line(location.decode('latin-1'), 100)}")
        trusted = context_of(self.crawler).session.trusted
        if result.body and not (trusted.trust(target, request.url) or origin_of(target) == origin_of(request.url)):
            what, fix = trusted.refusal("the request body", target, request.url)
            _fail(request, f"the server redirected to another origin: {what}", fix)
        return result.replace(url=target, meta={**result.meta, "verbatim_url": True})


def _fail(request: Request, what: str, fix: str = "") -> NoReturn:
    """Raise the exception for a redirect that is not followed. Its cause marks the page as failed."""
    raise IgnoreRequest(f"{what}; {fix}" if fix else what) from FetchError(what, where=request.url, fix=fix)
