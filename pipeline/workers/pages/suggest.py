"""Perform `pipeline suggest`: propose tables for a spider from one page, or say what the page is instead of a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.extract import Document
from pipeline.crawl.extract.page_text import is_binary, page_text
from pipeline.crawl.extract.try_rules import session_note, try_spider
from pipeline.crawl.spider_import import spider_class
from pipeline.crawl.suggest import Proposal, spider_toml, suggest
from pipeline.crawl.suggest.proposal import SHOWN_ROWS
from pipeline.documents.scripted_pages import script_message
from pipeline.errors import FetchError, PipelineError
from pipeline.model import Json
from pipeline.session.login.failure_reasons import asks_captcha, asks_for_scripts
from pipeline.session.politeness.robots import Robots
from pipeline.settings import Settings, SpiderTable
from pipeline.store import Store
from pipeline.text import counted, shown_url
from pipeline.urls import bare
from pipeline.workers.pages.fetch import FetchedPage, PageFetcher, open_pages

SCHEDULE = "daily at 07:00"
_SHORT_TEXT = 200
_LONG_TEXT = 2000


def perform(store: Store, settings: Settings, name: str, options: dict[str, Any]) -> dict[str, Json]:
    """Return the proposals for the page options["url"], fetched with the session of the spider `name`, with the TOML of each.

    options["as"]: the name of the spider in the TOML. If there is no proposal, "seen" says in sentences what the page is. Raises
    FetchError if the site responded with an error status.
    """
    with open_pages(settings, name) as pages:
        fetched = pages.get(options["url"])
        note = session_note(pages.session, fetched.page)
        found = fetched.document
        if found.status >= 400:
            raise FetchError(f"the site responded with status {found.status}", where=shown_url(found.url),
                             fix="open the URL in a browser; a page that needs a login needs `--spider` with a spider that logs in")
        document = Document(url=bare(found.url).partition("#")[0], status=found.status, text=found.text, headers=lambda: found.headers,
                            encoding=found.encoding)  # the proposed start URL has no password
        seen: list[str] = []
        proposals = list(_with_rows(suggest(document, limit=3), pages, settings.folder, seen))
        if pages.spider.robots:
            robots = Robots(pages.session.look, on_delay=lambda place, delay_s: None)
            for proposal in proposals:
                proposal.notes.extend(_refusals(proposal.table["start"], robots))
    return {"url": document.url, "status": document.status, "characters": len(document.text), "session": note,
            "proposals": [_described(proposal, options["as"]) for proposal in proposals],
            "seen": [*_seen(fetched, bool(proposals)), *seen]}


def _described(proposal: Proposal, name: str) -> dict[str, Json]:
    table = {"schedule": SCHEDULE, **proposal.table}
    return {**asdict(proposal), "table": table, "toml": spider_toml(name, table)}


def _with_rows(proposals: Iterable[Proposal], pages: PageFetcher, folder: Path, seen: list[str]) -> Iterator[Proposal]:
    """Yield the proposals, those for other URLs with the rows found there. folder: the folder of settings.toml.

    A linked feed that cannot be fetched or has no entries is left out, and the reason is appended to `seen`.
    """
    for proposal in proposals:
        table = SpiderTable.model_validate(proposal.table)
        if proposal.count or not table.start:
            yield proposal
            continue
        url, reason = table.start[0].url, "it has no entries"
        try:
            fetched = pages.get(url)
            spidercls = spider_class(table.spider, folder)
            assert issubclass(spidercls, BuiltInSpider)
            found = try_spider(table, fetched.document, fetched.body, spidercls)["items"] if fetched.document.status < 400 else []
            reason = f"HTTP {fetched.document.status}" if fetched.document.status >= 400 else reason
        except PipelineError as error:
            found, reason = [], error.what
        if isinstance(found, list) and found:
            rows = [row for row in found[:SHOWN_ROWS] if isinstance(row, dict)]
            yield replace(proposal, rows=rows, count=len(found))
        else:
            seen.append(f"the {proposal.kind} {shown_url(url)}, which the page links, cannot be used: {reason}")


def _refusals(starts: Sequence[str], robots: Robots) -> Iterator[str]:
    """Yield the reason for each start URL that a run would not fetch because of the site's robots.txt."""
    for url in starts:
        try:
            robots.check(url)
        except PipelineError as error:
            yield f"a run does not fetch {shown_url(url)}: {error.what}; {error.fix}"


def _seen(fetched: FetchedPage, found_list: bool) -> Iterator[str]:
    """Yield what the page is, if it is not what a person sees in a browser, or if no list was found on it."""
    page, document = fetched.page, fetched.document
    text = page_text(document.text)
    if asks_captcha(page) and len(text) < _LONG_TEXT:
        yield "the page asks for a captcha"
    elif document.lexbor.css_first("input[type=password i]") is not None and not found_list:
        yield "the page asks for a password: give the spider a login (docs/sessions.md), then use `--spider NAME`"
    if found_list:
        return
    if not document.text.strip():
        yield "the page is empty"
    elif is_binary(document.text[:_LONG_TEXT]) or not _is_text(document):
        yield f"the page is not HTML, XML or JSON (Content-Type: {document.headers.get('content-type') or 'none'})"
    elif scripted := script_message(document):
        yield scripted
    elif asks_for_scripts(page):
        yield "the page is the challenge of a bot protection; log in with a browser and import its cookies with `pipeline cookies import`"
    elif document.json == [] or len(text) < _SHORT_TEXT:
        yield f"the page has hardly any content ({counted(len(text), 'character')} of text): it may be an empty list"
    else:
        yield "the page has no repeated structure: it may be a single article; give the URL of a list of articles, products or files"


def _is_text(document: Document) -> bool:
    kind = document.headers.get("content-type", "").partition(";")[0].strip().lower()
    return not kind or kind.startswith("text/") or any(word in kind for word in ("html", "xml", "json", "csv", "javascript"))
