"""Perform `pipeline try`: fetch a page with a spider's session, and report what the spider's rules match."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.extract import Document
from pipeline.crawl.extract.try_rules import session_note, try_spider
from pipeline.crawl.middlewares import pdf
from pipeline.crawl.spider_import import spider_class
from pipeline.session import open_session
from pipeline.session.client import fetch
from pipeline.session.page import Page
from pipeline.session.refreshes import follow_refreshes
from pipeline.settings import Settings


def try_page(settings: Settings, name: str, url: str, report: Path) -> None:
    """Fetch a page, and write a JSON report of what the spider's rules match on it to the file `report`.

    name: the name of the spider. url: the URL of the page. Raise the PipelineError if the login, the fetch or a rule fails.
    """
    spider = settings.spiders[name]
    session = open_session(name, spider, settings)
    session.ensure_login()
    with session.client() as client:
        page = Page(fetch(client, "GET", url, max_bytes=spider.max_page_size, timeout_s=spider.timeout), spider.encoding)
        page = follow_refreshes(client, page, method="GET", is_wanted=lambda page: False, encoding=spider.encoding,
                                max_bytes=spider.max_page_size, timeout_s=spider.timeout)
    answer = page.answer
    body, text, headers, encoding = answer.body, page.text, dict(answer.headers), page.encoding
    if spider.pdf and pdf.is_pdf(body):
        body, headers["Content-Type"] = asyncio.run(pdf.page_of(body, answer.url)), "text/html; charset=utf-8"
        text, encoding = body.decode(), "utf-8"
    document = Document(url=answer.url, status=answer.status, text=text, headers=lambda: headers, encoding=encoding)
    spidercls = spider_class(spider.spider, settings.folder)
    assert issubclass(spidercls, BuiltInSpider)  # the command `try` has already refused spiders written in Python
    found = try_spider(spider, document, body, spidercls)
    found["session"] = session_note(session, page)
    report.write_text(json.dumps(found, default=str), "utf-8")
