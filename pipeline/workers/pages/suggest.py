"""Perform `pipeline suggest`.

Propose tables for a spider from one page, or say what the page is instead of a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.extract import Document
from pipeline.crawl.extract.try_rules import session_note, try_spider
from pipeline.crawl.spider_import import spider_class
from pipeline.crawl.suggest import Proposal, spider_toml, suggest
from pipeline.crawl.suggest.proposal import SHOWN_ROWS
from pipeline.errors import PipelineError
from pipeline.model import Json
from pipeline.session.browser.process.program import BrowserProgram
from pipeline.session.politeness.robots import Robots
from pipeline.settings import RenderTable, Settings, SpiderTable
from pipeline.store import Store
from pipeline.store.session_files import files_of
from pipeline.text import shown_url
from pipeline.urls import bare, route_of
from pipeline.workers.pages.fetch import PageFetcher, open_pages
from pipeline.workers.pages.growing_lists import css_of, growing
from pipeline.workers.pages.obstacles import is_navigation, obstacle, refused, without_list

SCHEDULE = "daily at 07:00"
SHOWN = 3
"""How many proposals are shown."""
LIKELY = 0.5
"""The confidence from which a proposal is more than a guess."""


def perform(store: Store, settings: Settings, name: str, options: dict[str, Any]) -> dict[str, Json]:
    """Return the proposals for the page options["url"], fetched with the session of the spider `name`, with the TOML of each.

    options["as"]: the name of the spider in the TOML; options["keys"]: keys that are added to each proposed table. options["render"]: whether the
    page is rendered in a browser, as the proposed table then says. If there is no proposal, "seen" says in sentences what the page is. "watch" is the TOML of a spider that
    watches the page as a whole. Raises FetchError if the site responded with an error status.
    """
    if options["render"]:
        settings = _with_render(settings, name)
    with open_pages(settings, name, files_of(store, name)) as pages:
        fetched = pages.get(options["url"])
        note = session_note(pages.session, fetched.page)
        found = fetched.document
        if found.status >= 400:
            raise refused(fetched)
        document = Document(url=bare(found.url) + route_of(found.url), status=found.status, text=found.text, headers=lambda: found.headers,
                            encoding=found.encoding, is_rendered=found.is_rendered)  # the proposed start URL has no password
        seen: list[str] = []
        proposals = list(_with_rows(_of_lists(document), pages, settings.folder, seen))
        if all(proposal.confidence < LIKELY for proposal in proposals) and (reason := obstacle(fetched)):
            proposals, seen = [], [reason, *seen]
        if not proposals:
            seen = seen or [without_list(fetched)]
        has_steps = pages.spider.render is not None and bool(pages.spider.render.steps)
        grown = growing(proposals, pages, found.url) if options["render"] and found.is_rendered and not has_steps else []
        if "@" in urlsplit(options["url"]).netloc:
            for proposal in proposals:
                proposal.notes.append("the user name and the password of the URL are left out; give them as `auth`, with the password as "
                                      "{ env = … } or { file = … }")
        if pages.spider.robots:
            robots = Robots(pages.session.look, on_delay=lambda place, delay_s: None)
            for proposal in proposals:
                proposal.notes.extend(_refusals(proposal.table["start"], robots))
    return {"url": document.url, "status": document.status, "characters": len(document.text), "session": note,
            "proposals": [_described(proposal, options["as"], options["keys"] | (_rendered(proposal, grown) if options["render"] else {})) for proposal in proposals],
            "seen": seen, "watch": spider_toml(options["as"], {"spider": "watch", "schedule": SCHEDULE, "start": [document.url], **options["keys"],
                                                               **({"render": "browser"} if options["render"] else {})})}


def _of_lists(document: Document) -> list[Proposal]:
    """Return at most SHOWN proposals. A guess whose elements are all in the navigation of the page is left out."""
    found = [proposal for proposal in suggest(document, limit=2 * SHOWN)
             if proposal.confidence >= LIKELY or not is_navigation(proposal.table.get("items", {}).get("each"), document)]
    feeds = [proposal for proposal in found[SHOWN:] if proposal.kind == "feed"]
    return [*found[:SHOWN - len(feeds[:1])], *feeds[:1]]


def _described(proposal: Proposal, name: str, keys: dict[str, Json]) -> dict[str, Json]:
    table = {"schedule": SCHEDULE, **proposal.table, **keys}
    return {**asdict(proposal), "table": table, "toml": spider_toml(name, table)}


def _with_render(settings: Settings, name: str) -> Settings:
    """Return settings in which the pages of a spider are rendered. Raises BrowserError if that is not possible."""
    BrowserProgram.of(settings.browser, settings.data_dir)
    spider = settings.spiders[name]
    table = spider.render or RenderTable(wait_for=("networkidle",))  # its items are not known yet
    return settings.model_copy(update={"spiders": {**settings.spiders, name: spider.model_copy(update={"render": table})}})


def _rendered(proposal: Proposal, grown: Sequence[str]) -> dict[str, Json]:
    """Return the key `render` for a proposed table: it waits for the items of the page.

    grown: the selectors of lists that grow when the page is scrolled.
    """
    each = css_of(proposal)
    steps = {"steps": [{"scroll": "end"}]} if each in grown else {}
    return {"render": {"wait_for": each, **steps} if each else "browser"}


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
