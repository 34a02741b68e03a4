"""Rules for redesigned real pages, and pages for which nothing may be proposed.

A seeded sample of `python -m benchmarks.mend`.
"""

from __future__ import annotations

import random

import pytest

from pipeline.crawl.mend import mend, merged
from pipeline.settings import SpiderTable
from tests.redesigns.judge import documents, what_is_wrong
from tests.redesigns.page import document
from tests.redesigns.sites import foreign_pages, sites

SITES = sites()
SEEDS = (101,)


def test_most_redesigns_get_the_right_rules() -> None:
    verdicts = []
    for site in SITES:
        for seed in SEEDS:
            made = site.redesigned(seed)
            changes = mend(site.spider, documents(made), site.known).changes
            verdicts.append("none" if not changes else what_is_wrong(merged(site.table, changes), made) or "right")
    assert verdicts.count("right") >= 0.75 * len(verdicts), verdicts


@pytest.mark.parametrize("name", foreign_pages(SITES[0], SITES[1]))
def test_nothing_is_proposed_for_pages_without_the_items(name: str) -> None:
    for site, other in zip(SITES[:4], SITES[2:] + SITES[:2], strict=False):
        pages = foreign_pages(site, other)[name]
        assert not mend(site.spider, [document(page, site.url) for page in pages], site.known).changes, site.name


def test_a_damaged_redesign_never_raises_and_every_proposal_is_valid() -> None:
    rng = random.Random(5)
    for site in SITES[:3]:
        page = site.redesigned(1).pages[0]
        for _ in range(4):
            cuts = sorted(rng.sample(range(len(page)), 6))
            damaged = "".join(page[start:end] for start, end in zip([0, *cuts[1::2]], [*cuts[::2], len(page)], strict=False)).replace(
                rng.choice(("</div>", "</td>", '"', "<a")), rng.choice(("", "<table>", "</p>", "\0")), 5)
            changes = mend(site.spider, [document(damaged, site.url)], site.known).changes
            SpiderTable.model_validate(merged(site.table, changes))


def test_a_position_that_depends_on_fields_that_some_items_lack_is_no_rule() -> None:
    rows = [{"title": f"Issue {at} of the tracker", "url": f"http://site.example/{at}", "owner": f"owner{at}" if at % 3 else None,
             "state": ("open", "closed", "waiting")[at % 3]} for at in range(15)]
    facts = "".join(f"<x-row><a href='/{at}'>{row['title']}</a>" + "".join(f"<x-fact>{row[name]}</x-fact>" for name in ("owner", "state") if row[name])
                    + "</x-row>" for at, row in enumerate(rows))
    table = {"spider": "crawl", "start": ["http://site.example/"], "items": {"each": "tr", "key": ["url"], "fields": {
        "title": "a", "url": "a::attr(href)", "owner": ".owner", "state": ".state"}}}
    page = document(f"<html><body><x-list>{facts}</x-list></body></html>", "http://site.example/")
    fields = mend(SpiderTable.model_validate(table), [page], rows).changes.get("items", {}).get("fields", {})
    assert "x-fact" not in str(fields.get("owner", ""))


def test_a_new_link_to_the_next_page_may_be_found_by_its_text() -> None:
    site = next(site for site in SITES if site.name == "pelican-simple")
    html = site.html.replace("</main>", '<p><a href="?page=2">2</a> <a href="?page=2">Next</a></p></main>')
    table = site.table | {"follow": [".pagination a.next"]}
    mending = mend(SpiderTable.model_validate(table), [document(html, site.url)], site.known, links={"follow": []})
    SpiderTable.model_validate(merged(table, mending.changes))
