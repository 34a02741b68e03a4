"""A crawl reads pages in the same encoding as a login does, and no unknown label fails a page."""

from __future__ import annotations

import codecs

from pipeline.session.page import Answer as Fetched
from pipeline.session.page import Page
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite
from tests.session.responses.test_encodings import LABELS, NO_LABELS, page


def test_a_crawl_reads_a_page_as_a_login_does(crawls: Crawls, site: PageSite) -> None:
    cases = [(f"text/html; charset={label}", page(text).encode(encoding)) for label, encoding, text in LABELS]
    cases += [(f"text/html; charset={label}", page("цена", "<meta charset=koi8-r>").encode("koi8-r"))
              for label in NO_LABELS if label.isascii() and label.isprintable()]
    cases += [("application/octet-stream; charset=zlib", page("Größe").encode()), ("text/html", page("Größe und Maß").encode("cp1252")),
              ("text/html; charset=x", codecs.BOM_UTF16_LE + page("Größe").encode("utf-16-le"))]
    links = "".join(f'<a href="/{number}">' for number in range(len(cases)))
    site.pages = {"/": page(links)} | {
        f"/{number}": Answer(body, headers={"Content-Type": kind}) for number, (kind, body) in enumerate(cases)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\n[spiders.s.items]\nkey = ["url"]\n'
                 'fields = { url = { page = "url" }, name = "h1" }')
    run = crawls.run()
    assert run.complete, run.error
    read = {key.rpartition("/")[2]: item["name"] for key, item in crawls.items().items()}
    for number, (kind, body) in enumerate(cases):
        heading = Page(Fetched(f"{site.url}/{number}", 200, {"Content-Type": kind}, body)).document.lexbor.css_first("h1")
        assert heading is not None
        assert (kind, read[str(number)]) == (kind, heading.text())
    assert read["0"] == "価格①"
