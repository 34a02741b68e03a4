"""The console of `pipeline shell`.

A page of a spider, fetched with its session, as Scrapy's shell would show it.

Scrapy documents its shell only as a command, without a way to hand in a session. This console is therefore Python's own, or IPython
if it is installed, with the objects of Scrapy's shell.
"""

from __future__ import annotations

import code
import contextlib
import logging
import sys
from importlib.util import find_spec
from typing import Any

import scrapy
from pydantic import ValidationError
from scrapy.http import Response
from scrapy.utils.response import open_in_browser

from pipeline.crawl.extract import CompiledRule, Document, ItemRules, RuleFailedError
from pipeline.crawl.extract.try_rules import scrapy_response, session_note
from pipeline.errors import PipelineError
from pipeline.model import Json
from pipeline.settings import SelectorTable, Settings, load
from pipeline.settings.models.extraction import selector
from pipeline.store.from_settings import session_files_of
from pipeline.text import counted, escape_controls, shown_url
from pipeline.workers.pages.fetch import PageFetcher, open_pages

_HELP = """\
response        the page as a response of Scrapy: response.css("h3 a::text").getall(), response.xpath("//a")
document        the page as a document of this program: document.json, document.data("json-ld")
rule("h3 a")    what a selector of the settings finds; rule(css="b", type="price") with options
items()         the items that the spider's rules find on the page
fetch(url)      another page, with the same session
view(response)  opens the page in a browser
spider          the settings of the spider"""


class PageShell:
    """The objects of the console. names: the variables of the console, which fetch() updates."""

    def __init__(self, pages: PageFetcher) -> None:
        self._pages = pages
        self.names: dict[str, Any] = {"spider": pages.spider, "scrapy": scrapy, "fetch": self.fetch, "rule": self.rule, "items": self.items,
                                      "view": open_in_browser}

    @property
    def _document(self) -> Document:
        document: Document = self.names["document"]
        return document

    def fetch(self, url: str) -> None:
        """Fetch a page with the spider's session. Afterwards `response` and `document` are this page.

        url: may be relative to the current page.
        """
        try:
            self.load(self._document.absolute(url) or url)
        except PipelineError as error:
            _say(str(error))

    def load(self, url: str) -> None:
        """Fetch a page as fetch() does. Raises PipelineError."""
        fetched = self._pages.get(url)
        note = session_note(self._pages.session, fetched.page)
        response: Response = scrapy_response(fetched.document, fetched.body)
        self.names |= {"document": fetched.document, "response": response, "request": response.request}
        _say(f"{shown_url(fetched.document.url)}: HTTP {fetched.document.status}, {counted(len(fetched.document.text), 'character')}")
        if note:
            _say(f"session: {note}")

    def rule(self, text: str | None = None, **options: Any) -> list[Json]:
        """Return what a selector of the settings finds on the page. text: CSS or XPath; options: the keys of a selector table."""
        try:
            return CompiledRule(SelectorTable.model_validate(selector(text) if text is not None else options)).values(self._document)
        except ValidationError as error:
            _say(error.errors(include_url=False)[0]["msg"])
        except RuleFailedError as error:
            _say(str(error))
        return []

    def items(self) -> list[dict[str, Json]]:
        """Return the items that the rules [spiders.NAME.items] find on the page."""
        table = self._pages.spider.items
        if table is None:
            _say("the spider has no table `items`")
            return []
        extracted = ItemRules(table.fields, table.each, table.details.link if table.details else None).extract(self._document)
        for rejected in extracted.rejected:
            _say(f"rejected: {rejected.reason}")
        return extracted.items


def _say(text: str) -> None:
    sys.stdout.write(escape_controls(text) + "\n")


def interact(names: dict[str, Any]) -> None:
    """Run the console until it is left with exit() or Ctrl-D."""
    if sys.stdin.isatty() and find_spec("IPython") is not None:
        from IPython import start_ipython  # type: ignore[import-not-found]  # noqa: PLC0415  used if it is installed
        start_ipython(argv=["--no-banner"], user_ns=names)
        return
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: PLC0415  some builds of Python lack it
            import rlcompleter  # noqa: PLC0415
            readline.set_completer(rlcompleter.Completer(names).complete)
            readline.parse_and_bind("tab: complete")
    code.interact(banner="", local=names, exitmsg="")


def main(settings_file: str, name: str, url: str) -> int:
    """Open the console with the page `url`, fetched with the session of the spider `name`. Return the exit code."""
    logging.basicConfig(level=logging.WARNING)
    try:
        settings: Settings = load(settings_file)
        with session_files_of(settings, name) as stored, open_pages(settings, name, stored) as pages:
            shell = PageShell(pages)
            shell.load(url)
            _say(_HELP)
            interact(shell.names)
    except PipelineError as error:
        sys.stderr.write(escape_controls(str(error)) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
