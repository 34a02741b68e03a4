"""The proposals for list pages of real programs.

The engine finds with one of the first three what a reader sees.
"""

from __future__ import annotations

import pytest

from pipeline.crawl.suggest import suggest
from tests.list_pages import FOLDER, ListPage, judge, list_pages, verdicts

DEVELOPMENT = [page for page in list_pages() if page.set == "development"]
KNOWN_WRONG = frozenset({"debian-handbook-chapter-de"})
"""Pages for which no proposal is right yet."""


@pytest.mark.parametrize("page", DEVELOPMENT, ids=lambda page: page.name)
def test_one_of_three_proposals_has_the_rows_titles_and_urls_of_the_page(page: ListPage) -> None:
    found = verdicts(suggest(page.document()), page)
    right = any(verdict.right for verdict in found)
    if not right and page.name in KNOWN_WRONG:
        pytest.xfail("; ".join(verdict.why for verdict in found))
    assert right, [verdict.why for verdict in found]


def test_each_stored_page_has_its_rows_and_no_program_is_in_both_sets() -> None:
    assert {page.name for page in list_pages()} == {path.stem for path in FOLDER.glob("*.html")}
    sets: dict[str, set[str]] = {}
    for page in list_pages():
        assert sum(not row.optional for row in page.rows) >= 4, page.name
        sets.setdefault(page.program, set()).add(page.set)
    assert [program for program, names in sets.items() if len(names) > 1] == []


def test_a_table_with_other_rows_titles_or_urls_is_judged_wrong() -> None:
    page = next(page for page in DEVELOPMENT if page.name == "python-http-server")
    items = {"each": "li", "fields": {"title": "a", "url": "a::attr(href)"}}
    assert judge({"start": [page.url], "items": items}, page).right
    for change, why in (({"each": "li:nth-child(odd)"}, "each: 14 of 27 rows, 0 more"), ({"each": "html"}, "each: 1 of 27 rows, 0 more"),
                        ({"fields": {"title": "a::attr(href)", "url": "a::attr(href)"}}, "title: "),
                        ({"fields": {"title": "a", "url": "a"}}, "url: ")):
        assert judge({"start": [page.url], "items": {**items, **change}}, page).why.startswith(why)
