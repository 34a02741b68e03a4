"""Perform `pipeline try`: fetch a page with a spider's session, and report what the spider's rules match."""

from __future__ import annotations

from typing import Any

from pipeline.crawl.browser.picture import PictureRules
from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.extract.try_rules import picture_line, session_note, try_spider
from pipeline.crawl.spider_import import spider_class
from pipeline.model import Json
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.session_files import files_of
from pipeline.workers.pages.fetch import open_pages


def perform(store: Store, settings: Settings, name: str, options: dict[str, Any]) -> dict[str, Json]:
    """Return a report of what the rules of the spider `name` match on the page options["url"]."""
    spidercls = spider_class(settings.spiders[name].spider, settings.folder)
    assert issubclass(spidercls, BuiltInSpider)  # the command `try` has already refused spiders written in Python
    with open_pages(settings, name, files_of(store, name)) as pages:
        pages.rendered.picture_rules = PictureRules.of(pages.spider)
        fetched = pages.get(options["url"])
        found = try_spider(pages.spider, fetched.document, fetched.body, spidercls, is_rendered=fetched.is_rendered)
        found["rendered"], found["left_out_of_page"] = fetched.is_rendered, list(fetched.notes)
        if pages.rendered.picture_rules is not None:
            found["picture"] = picture_line(pages.rendered.picture)
        found["session"] = session_note(pages.session, fetched.page)
    return found
