"""Archived pages, for digests that attach them."""

from __future__ import annotations

from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite


def test_only_pages_with_changes_are_archived_byte_for_byte(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f"""
        [spiders.s]
        start = ["{site.url}/a/1?x=../y", "{site.url}/2", "{site.url}/none"]
        revalidate = false
        items.fields = {{ title = {{ css = "h1", required = true }}, url = {{ page = "url" }} }}
        [digests.d]
        spiders = ["s"]
        to = ["me@example.com"]
        attach = ["pages"]
    """)
    chinese = "<meta charset=gbk><h1>中文</h1>".encode("gbk")
    site.pages = {"/a/1?x=../y": Answer(chinese), "/2": "<h1>two</h1>", "/none": "<p>no item</p>"}
    changes = crawls.changes(crawls.run())
    folder = crawls.store.files.path("pages/s")
    kept = {crawls.store.files.path(change.page_key).read_bytes(): change.page_key for change in changes}
    assert set(kept) == {chinese, b"<h1>two</h1>"}
    assert kept[chinese].endswith("-127.0.0.1_a_1.html")
    assert len(list(folder.iterdir())) == 2
    site.pages["/a/1?x=../y"] = Answer(chinese + b"<p>the same item</p>")
    site.pages["/2"] = "<h1>changed</h1>"
    change, = crawls.changes(crawls.run())
    assert crawls.store.files.path(change.page_key).read_bytes() == b"<h1>changed</h1>"
    assert len(list(folder.iterdir())) == 3


def test_no_page_is_archived_unless_a_digest_attaches_it(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nitems.fields = {{ title = "h1" }}\n')
    site.pages = {"/": "<h1>one</h1>"}
    change, = crawls.changes(crawls.run())
    assert change.page_key == ""
    assert not crawls.store.files.path("pages").exists()
