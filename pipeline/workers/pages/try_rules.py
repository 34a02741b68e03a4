"""Perform `pipeline try`: fetch a page with a spider's session, and report what the rules match."""

from __future__ import annotations

from typing import Any

from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.extract.try_rules import picture_line, session_note, try_spider
from pipeline.crawl.spider_import import spider_class
from pipeline.model import Json
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.session_files import files_of
from pipeline.workers.pages.fetch import open_pages
from pipeline.workers.pages.samples import sample_of


def perform(store: Store, settings: Settings, name: str, options: dict[str, Any]) -> dict[str, Json]:
    """Return a report of what the rules of the spider `name` match on the page options["url"].

    options["most"]: the maximum number of items in the report, which then has also their number; missing means all.
    """
    spidercls = spider_class(settings.spiders[name].spider, settings.folder)
    assert issubclass(spidercls, BuiltInSpider)  # the command `try` has already refused spiders written in Python
    with open_pages(settings, name, files_of(store, name)) as pages:
        pages.rendered.takes_pictures = True
        fetched = pages.get(options["url"])
        found = try_spider(pages.spider, fetched.document, fetched.body, spidercls, is_rendered=fetched.is_rendered)
        found["rendered"], found["left_out_of_page"] = fetched.is_rendered, list(fetched.notes)
        if pages.rendered.picture_rules is not None or (pages.spider.spider == "watch" and pages.spider.watch.visual is not None):
            has_no_part = pages.spider.watch.part is not None and not pages.spider.watch.part_is_element
            found["picture"] = picture_line(pages.rendered.picture) + (" (the whole page, because `watch.part` selects no element)" if has_no_part else "")
        found["session"] = session_note(pages.session, fetched.page)
    return sample_of(found, options["most"]) if "most" in options else found
