"""Find out what a page is that has no list.

A login page, a page that needs JavaScript, an empty page, or only navigation.
"""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode, SelectolaxError

from pipeline.crawl.extract import Document
from pipeline.crawl.extract.page_text import is_binary, page_text
from pipeline.documents.scripted_pages import script_message
from pipeline.errors import FetchError
from pipeline.session.login.failure_reasons import asks_captcha, asks_for_scripts
from pipeline.text import counted, shown_url
from pipeline.workers.pages.fetch import FetchedPage

_READ = 1_000_000
"""Characters of a page that are examined for its text."""
_SHORT_TEXT = 200
_LONG_TEXT = 2000
_NAVIGATION_TAGS = frozenset({"nav", "footer", "header", "aside", "menu"})
_NAVIGATION_ROLES = frozenset({"navigation", "banner", "contentinfo", "menu", "menubar", "complementary"})
_NAVIGATION_NAME = re.compile(r"(?:^|[-_])(?:nav|navbar|navigation|menu|footer|breadcrumbs?|sidebar|masthead)(?:[-_]|$)", re.IGNORECASE)


def obstacle(fetched: FetchedPage) -> str:
    """Return why a page does not have the content of the site; "" if nothing suggests so."""
    page, document = fetched.page, fetched.document
    if is_binary(document.text[:_LONG_TEXT]) or not _is_text(document):
        return f"the page is not HTML, XML or JSON (Content-Type: {document.headers.get('content-type') or 'none'})"
    if scripted := script_message(document, is_rendered=fetched.is_rendered):
        return scripted.replace("set `render`", "add `--render`")
    if asks_for_scripts(page):
        return "the page is the challenge of a bot protection; log in with a browser and import its cookies with `pipeline cookies import`"
    if len(page_text(document.text[:_READ])) > _LONG_TEXT:
        return ""
    if asks_captcha(page):
        return "the page asks for a captcha"
    if document.lexbor.css_first("input[type=password i]") is not None:
        return "the page asks for a password: write a spider with a login (docs/sessions.md), then use `--spider NAME`"
    return ""


def refused(fetched: FetchedPage) -> FetchError:
    """Return the error for a response with an error status, with what a person can do."""
    status = fetched.document.status
    if status in (401, 403, 407):
        fix = "open the URL in a browser; if the page needs a login, write a spider with a login (docs/sessions.md) and use `--spider NAME`"
    elif status in (404, 410):
        fix = "check the URL in a browser"
    else:
        fix = "try again later, or open the URL in a browser"
    reason = obstacle(fetched)
    return FetchError(f"the site responded with status {status}" + (f": {reason}" if reason else ""), where=shown_url(fetched.document.url),
                      fix=fix, retry=status == 429 or status >= 500)


def without_list(fetched: FetchedPage) -> str:
    """Return what a page without a list and without an obstacle may be."""
    document = fetched.document
    if not document.text.strip():
        return "the page is empty"
    if document.json not in (None, [], {}):
        return "the JSON of the page has no list of records"
    beginning = document.text[:_LONG_TEXT].lstrip("\ufeff \t\r\n").lower()
    if beginning.startswith("<?xml") and "<html" not in beginning:
        return "the XML of the page is neither a feed nor a sitemap; write XPath rules for it (docs/extraction.md)"
    text = page_text(document.text[:_READ])
    if document.json is not None or len(text) < _SHORT_TEXT:
        return f"the page has hardly any content ({counted(len(text), 'character')} of text): it may be an empty list"
    return "the page has no repeated structure except its navigation: it may be a single article; give the URL of a list of articles, products or files"


def is_navigation(each: object, document: Document) -> bool:
    """Return whether all elements that the selector `each` matches are in the navigation, the header or the footer of a page."""
    if not isinstance(each, str):
        return False
    try:
        found = document.lexbor.css(each)
    except SelectolaxError:
        return False
    return bool(found) and all(_is_in_navigation(node) for node in found)


def _is_in_navigation(node: LexborNode) -> bool:
    parent: LexborNode | None = node
    while parent is not None and parent.tag not in ("body", "html"):
        attributes = parent.attributes
        names = f"{attributes.get('id') or ''} {attributes.get('class') or ''}".split()
        if parent.tag in _NAVIGATION_TAGS or attributes.get("role") in _NAVIGATION_ROLES or any(map(_NAVIGATION_NAME.search, names)):
            return True
        parent = parent.parent
    return False


def _is_text(document: Document) -> bool:
    kind = document.headers.get("content-type", "").partition(";")[0].strip().lower()
    return not kind or kind.startswith("text/") or any(word in kind for word in ("html", "xml", "json", "csv", "javascript"))
