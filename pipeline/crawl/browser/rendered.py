"""What is rendered, and the result: plain data that needs neither a browser nor Scrapy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.crawl.browser.screenshot import Picture, PictureRules
from pipeline.model import Exchange
from pipeline.settings import RenderTable


class RenderRequest(NamedTuple):
    """A request for a page.

    cookies: cookies of this request, besides those of the session. picture: what the picture of the page shows; None if none is taken.
    pdf_without: CSS selectors of the elements that the PDF file of the page leaves out.
    is_login_page: returns whether a URL that a script shows in place of this page is the login page.
    archived: whether the requests and responses for the page are recorded; archived_picture: whether a picture for the archive is taken, too.
    """

    url: str
    method: str
    headers: Mapping[str, str]
    body: bytes
    table: RenderTable
    cookies: Mapping[str, str] = {}
    picture: PictureRules | None = None
    is_login_page: Callable[[str], bool] = lambda url: False
    pdf_without: tuple[str, ...] = ()
    archived: bool = False
    archived_picture: bool = False


class Rendered(NamedTuple):
    """A rendered page, or a response as it was sent: a redirect, an error status, or a body that is not HTML, which may be left out.

    url: the URL of the document. headers: without those that describe the body or set cookies, which the browser has stored. body: the DOM as HTML
    in UTF-8, or the body as sent. notes: what was left out of the page. unsure: why the page may lack content; "" if nothing suggests so.
    downloads: URLs of files that the page has started to download. frames: URLs of documents in frames, which are not part of the body. is_html: whether the body is the DOM. is_other:
    whether the response is no HTML and its body was left out: the caller requests it again without the browser, which alone cannot tell
    whether such a body has arrived completely. duration_s: how long it took. exchanges: the requests and responses for the page, with what was
    rendered, if the request asks for them.
    """

    url: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    notes: tuple[str, ...] = ()
    picture: Picture | None = None
    pdf: bytes | None = None
    downloads: tuple[str, ...] = ()
    unsure: str = ""
    frames: tuple[str, ...] = ()
    is_html: bool = False
    is_other: bool = False
    duration_s: float = 0.0
    exchanges: tuple[Exchange, ...] = ()
