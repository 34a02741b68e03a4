"""Tests of what is archived of pages that a browser renders."""

from __future__ import annotations

import pytest

from tests.crawl.archive.records import archived, pages
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite


@pytest.mark.needs("chromium")
def test_a_rendered_page_is_archived_as_sent_as_rendered_and_as_a_picture(crawls: Crawls, site: PageSite) -> None:
    sent = "<!doctype html><title>t</title><p id=p></p><script>p.textContent = 'made'</script><a href=/moved>m</a><a href=/gone>g</a><a href=/doc>d</a><a href='/a|b'>e</a>"
    site.pages = {"/": Answer(sent, headers={"X-Sent": "yes", "Set-Cookie": "sid=geheim"}), "/moved": Answer(status=302, headers={"Location": "/end"}),
                  "/end": "<p>end</p>", "/a%7Cb": "<p>a|b</p>", "/gone": Answer("<p>no</p>", status=410), "/doc": Answer("text", headers={"Content-Type": "text/plain"})}
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        robots = false
        archive = true
        render = "browser"
        follow = ["a"]
        items = {{ each = "p", key = ["k"], fields = {{ k = "p" }} }}""")
    run = crawls.perform()
    assert (run.progress.archived_pages, run.progress.not_archived) == (5, 0), run.error
    assert sorted(pages(crawls.store.data_dir, site.url)) == [
        ("response", "/", "200"), ("response", "/a%7Cb", "200"), ("response", "/doc", "200"), ("response", "/end", "200"), ("response", "/gone", "410"), ("response", "/moved", "302")]
    found = archived(crawls.store.data_dir)
    response = next(each for each in found if each.kind == "response" and each.url == f"{site.url}/")
    assert response.body.decode() == sent
    assert b"\r\nX-Sent: yes" in response.head
    assert b"geheim" not in b"".join(each.head + each.body for each in found)
    request = next(each for each in found if each.kind == "request" and each.url == f"{site.url}/")
    assert b"\r\nHost: " in request.head
    assert b"proxy-" not in request.head.lower(), "the site did not get what the browser sends to the guard proxy"
    resources = {each.url: each.body for each in found if each.kind == "resource"}
    assert b'<p id="p">made</p>' in resources[f"urn:dom:{site.url}/"]
    assert resources[f"urn:view:{site.url}/"].startswith(b"\x89PNG")
    assert {url for url in resources if url.startswith("urn:dom:")} == {f"urn:dom:{site.url}{path}" for path in ("/", "/a%7Cb", "/end")}
