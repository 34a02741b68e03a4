"""Pages that answer 401 or 403: how many there were is said, and what was on them is not called gone."""

from __future__ import annotations

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

SETTINGS = """
    [spiders.s]
    start = "{url}/"
    follow = ["a"]
    robots = false
    [spiders.s.items.fields]
    text = "p"
    """


@pytest.mark.parametrize("status", [401, 403])
def test_refused_pages_are_counted_and_their_items_stay(crawls: Crawls, site: PageSite, status: int) -> None:
    site.pages = {"/": Answer("<p>start</p><a href=/1>1</a><a href=/2>2</a><a href=/never>n</a>"),
                  "/1": Answer("<p>1</p>"), "/2": Answer("<p>2</p>"), "/never": Answer("no", 403)}
    place = site.url.partition("://")[2]
    crawls.write(SETTINGS.format(url=site.url))
    first = crawls.run()
    assert (first.outcome, first.complete) == (Outcome.SUCCEEDED, True)  # no pass was ever given it
    assert f"1 page refused: 403 from {place}" in first.error
    site.pages |= {"/1": Answer("no", status), "/2": Answer("no", status)}
    for _ in range(2):
        run = crawls.run()
        assert (run.outcome, run.complete, run.progress.gone) == (Outcome.SUCCEEDED, False, 0)
        assert "3 pages refused: " in run.error
        assert f"{status} from {place}" in run.error
    assert len(crawls.items()) == 3
    site.pages |= {"/1": Answer("<p>1</p>"), "/2": Answer("no such page", 404)}
    run = crawls.run()
    assert (run.complete, run.progress.gone) == (True, 1)
