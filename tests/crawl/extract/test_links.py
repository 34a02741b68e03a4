"""Links to other hosts are not followed, but counted and reported.

A host that a start redirects to belongs to the site.

The sites have names of their own: the server is asked as a proxy is, by whole URLs.
"""

from __future__ import annotations

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

SETTINGS = """
    [proxies]
    p = "{proxy}"
    [spiders.s]
    start = "{start}"
    follow = ["a"]
    proxy = "p"
    robots = false
    {more}
    [spiders.s.items.fields]
    text = "p"
    """


def serve(site: PageSite, pages: dict[str, str], redirects: dict[str, str]) -> None:
    site.pages = {url: Answer(body) for url, body in pages.items()} | {
        url: Answer(status=301, headers={"Location": where}) for url, where in redirects.items()}


def test_links_to_other_hosts_are_counted_in_the_run(crawls: Crawls, site: PageSite) -> None:
    links = ("<p>start</p><a href=http://SITE.example:80/1>1</a><a href=http://site.example./2>2</a>"
             "<a href=http://u:p@site.example/3>3</a>")
    out = "<a href=http://www.site.example/x>x</a><a href=http://www.site.example/y>y</a>"
    serve(site, {"http://site.example/": links + out, "http://site.example/1": "<p>1</p>" + out,
                 "http://site.example/2": "<p>2</p>", "http://site.example./2": "<p>2</p>", "http://site.example/3": "<p>3</p>"}, {})
    crawls.write(SETTINGS.format(proxy=site.url, start="http://site.example/", more=""))
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True)
    assert run.error == "2 links to other hosts were not followed: www.site.example; add the host to `hosts` if it belongs to the site"
    assert {item["text"] for item in crawls.items().values()} == {"start", "1", "2", "3"}


@pytest.mark.parametrize("more", ["", "processes = 2"])
def test_links_to_the_host_that_a_start_redirects_to_are_followed(crawls: Crawls, site: PageSite, more: str) -> None:
    from tests.crawl.processes.test_leader_and_followers import perform
    links = "".join(f"<a href=/{number}>n</a>" for number in range(6))
    serve(site, {"http://www.site.example/": f"<p>start</p>{links}",
                 **{f"http://www.site.example/{number}": f"<p>{number}</p><a href=/{number + 10}>n</a>" for number in range(6)},
                 **{f"http://www.site.example/{number + 10}": f"<p>{number + 10}</p>" for number in range(6)}},
          {"http://site.example/": "http://www.site.example/"})
    crawls.write(SETTINGS.format(proxy=site.url, start="http://site.example/", more=more))
    run = perform(crawls)
    assert (run.outcome, run.complete, run.error) == (Outcome.SUCCEEDED, True, "")
    assert len(crawls.items()) == 13


def test_they_are_followed_in_the_next_run_of_the_pass_too(crawls: Crawls, site: PageSite) -> None:
    serve(site, {"http://www.site.example/": "<p>start</p><a href=/1>1</a>", "http://www.site.example/1": "<p>1</p><a href=/2>2</a>",
                 "http://www.site.example/2": "<p>2</p>"}, {"http://site.example/": "http://www.site.example/"})
    page = site.pages["http://www.site.example/1"]

    async def stop_at_one(stop: object) -> None:
        import asyncio
        while "http://www.site.example/1" not in site.paths():
            await asyncio.sleep(0.005)
        stop.set()  # type: ignore[attr-defined]
    site.pages["http://www.site.example/1"] = lambda asked: page
    crawls.write(SETTINGS.format(proxy=site.url, start="http://site.example/", more='delay = "300ms"'))
    first = crawls.run(while_running=stop_at_one)
    assert first.outcome is Outcome.STOPPED
    run = crawls.run()
    assert (run.pass_id, run.complete, run.error) == (first.pass_id, True, "")
    assert {item["text"] for item in crawls.items().values()} == {"start", "1", "2"}
