"""Follows meta refresh elements and Refresh headers like redirects.

The module pipeline.documents.refresh reads them.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.documents.refresh import refresh_target
from pipeline.errors import FetchError
from pipeline.session.client import MAX_REDIRECTS, Client, fetch
from pipeline.session.errors import TOO_MANY_REDIRECTS, TOO_MANY_REDIRECTS_FIX
from pipeline.session.page import Page
from pipeline.text import shown_url


def follow_refreshes(client: Client, page: Page, *, method: str, is_wanted: Callable[[Page], bool],
                     encoding: str | None, max_bytes: int, timeout_s: float) -> Page:
    """Follow the refreshes of `page`, and return the last page.

    Stop at a page that has an error status, has no refresh, or only reloads itself, and at a page for which is_wanted returns
    True. method: the HTTP method with which `page` was requested. Raises ProxyError, TlsError or FetchError. Also raises
    FetchError after more than MAX_REDIRECTS redirects and refreshes in total.
    """
    hops = page.answer.hops
    while page.answer.status < 400 and (target := refresh_target(page.document)) and not is_wanted(page):
        source = page.answer.url.partition("#")[0]
        if target == source and method == "GET":
            break
        if hops >= MAX_REDIRECTS:
            raise FetchError(TOO_MANY_REDIRECTS, where=shown_url(page.answer.url), fix=TOO_MANY_REDIRECTS_FIX)
        answer = fetch(client, "GET", target, headers={"Referer": source}, max_bytes=max_bytes, timeout_s=timeout_s)
        page, method = Page(answer, encoding), "GET"
        hops += 1 + answer.hops
    return page
