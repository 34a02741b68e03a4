"""The link to the next page of a list, or the parameter that numbers its pages."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.crawl.suggest.lists.tree import Tree
from pipeline.crawl.suggest.next_page import next_page
from pipeline.documents.document import Document


def found(html: str, url: str = "https://site.example/list") -> dict[str, Any]:
    document = Document(url=url, status=200, text=f"<body>{html}</body>", headers=dict)
    return next_page(Tree(document.lexbor), document)[0]


@pytest.mark.parametrize(("html", "rule"), [
    ('<a rel="next" href="?p=2">More</a>', "a[rel~='next']"),
    ('<ul class="pager"><li class="next"><a href="page-2.html">next</a></li></ul>', "li.next a"),
    ('<div class="pagination"><a href="/page/2/">2</a><a class="next page-numbers" href="/page/2/">→</a></div>', "a.next"),
    ('<a href="?page=2" aria-label="Next">»</a>', "a[aria-label='Next']"),
    ('<span class="pagebox_next"><a href="index_2.shtml">下一页</a></span>', "span.pagebox_next a"),
    ('<p><a href="?page=2">Nächste Seite »</a></p>', "//a[normalize-space()='Nächste Seite »']"),
    ('<nav><ul><li>1 / 3</li><li><a href="index2.html">⟩</a></li><li><a href="index3.html">⟫</a></li></ul></nav>',
     "//a[normalize-space()='⟩']"),
    ('<head><link rel="next" href="/list?page=2"></head>', "link[rel~='next']")])
def test_a_link_to_the_next_page_is_followed(html: str, rule: str) -> None:
    assert found(html, "https://site.example/list" if "index" not in html else "https://site.example/index.html") == {"follow": [rule]}


@pytest.mark.parametrize(("links", "pages"), [
    (["?page=1", "?page=2", "?page=3"], {"param": "page"}), (["?page=0", "?page=1", "?page=2"], {"param": "page", "first": 0}),
    (["?page=2"], {"param": "page"}), (["?page=2", "?page=3", "?page=40"], {"param": "page"}), (["?page=2", "?page=40"], {"param": "page"}),
    (["?start=25", "?start=50"], {"param": "start", "first": 0, "step": 25}), (["?offset=20"], {"param": "offset", "first": 0, "step": 20})])
def test_numbered_links_become_pages(links: list[str], pages: dict[str, Any]) -> None:
    html = '<div class="pagination">' + "".join(f'<a href="{link}">{link[-1]}</a>' for link in links) + "</div>"
    assert found(html) == {"pages": pages}


def test_links_whose_labels_are_one_more_than_their_numbers_begin_at_zero() -> None:
    assert found('<div class="pager"><a href="?page=1">2</a><a href="?page=2">3</a></div>') == {"pages": {"param": "page", "first": 0}}


@pytest.mark.parametrize(("url", "html", "rule"), [
    ("/blog/index.html", '<nav class="md-pagination"><span>1</span><a href="page/2/">2</a><a href="page/3/">3</a></nav>', ".md-pagination a"),
    ("/list", '<div class="further"><b>1</b> <a href="/list/page/2">2</a> <a href="/list/page/3">3</a></div>', ".further a"),
    ("/index.html", '<p>Pages: 1 <a href="index2.html">2</a> <a href="index3.html">3</a></p><a href="/rules.html">Rules</a>', "a[href*='index']"),
    ("/news", '<div class="pages"><a href="/news/1">1</a> <a href="/news/2">2</a></div>', ".pages a")])
def test_links_with_numbers_in_their_paths_are_followed(url: str, html: str, rule: str) -> None:
    assert found(html, f"https://site.example{url}") == {"follow": [rule]}


@pytest.mark.parametrize("html", [
    '<ul class="pagination"><li><a href="/list">1</a></li><li><a href="?page=2">2</a></li><li><a href="?page=3">3</a></li></ul>',
    '<div><b>1</b> <a href="?page=2">2</a> <a href="?page=3">3</a></div>', '<p class="pager"><a href="?page=2">2</a> … <a href="?page=40">40</a></p>'])
def test_numbered_links_below_a_first_page_without_a_number_count_from_one(html: str) -> None:
    assert found(html) == {"pages": {"param": "page"}}


@pytest.mark.parametrize("html", [
    '<p><a href="/list/2024">2024</a> <a href="/list/2025">2025</a></p>', '<p>See <a href="/note/1">1</a> and <a href="/note/2">2</a></p>',
    '<p><a href="/list/page/2">²</a></p>', '<p><a href="/list/page/1">1</a></p>', "<table>" + "".join(
        f'<tr><td><a href="/list/{number}">{number}</a></td><td>Issue</td></tr>' for number in range(1, 9)) + "</table>"])
def test_years_notes_and_numbers_of_records_are_no_pages(html: str) -> None:
    assert found(html) == {}


@pytest.mark.parametrize("html", [
    "", '<a href="/next-steps">Next steps for you</a>', '<a class="next" href="https://other.example/">Next</a>', '<a class="next" href="#">Next</a>',
    '<a href="?id=1">1</a><a href="?id=2">2</a>', '<head><link rel="next" href="/chapter/installation"></head>',
    '<a class="next" href="javascript:void(0)">Next</a>'])
def test_other_links_are_no_next_page(html: str) -> None:
    assert found(html) == {}


@pytest.mark.parametrize("html", [
    '<a href="?month=1">Previous</a><a href="?month=3">Next</a>', '<a href="?month=3&amp;page=1">Next</a>',
    "".join(f'<a href="?month=2&amp;page={number}">more</a>' for number in range(9)),
    '<div class="pages"><a href="?sort=a">Sort a</a><a href="?sort=b">Sort b</a></div>'])
def test_links_to_other_months_records_or_orders_are_no_next_page(html: str) -> None:
    assert found(html, "https://site.example/list?month=2") == {}


@pytest.mark.parametrize(("url", "href"), [("?q=a", "?q=a&amp;page=2"), ("?q=a&after=x", "?q=a&amp;after=y"), ("", "?next=17&amp;n=31")])
def test_a_link_that_changes_where_the_page_begins_is_followed(url: str, href: str) -> None:
    assert found(f'<a href="{href}">Next</a>', f"https://site.example/list{url}") == {"follow": ["//a[normalize-space()='Next']"]}
