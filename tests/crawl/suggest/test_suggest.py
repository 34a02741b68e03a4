"""What is proposed for a page, and that nothing in a page can break it."""

from __future__ import annotations

import json
import random
import time
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crawl.suggest import Proposal, spider_toml, suggest
from pipeline.crawl.suggest.embedded import is_data
from pipeline.documents.document import Document
from pipeline.settings import SpiderTable
from tests.crawl.suggest.pages import CASES, Case, page, rows, title


def document(html: str, url: str = "https://site.example/list", content_type: str = "") -> Document:
    return Document(url=url, status=200, text=html, headers=lambda: {"Content-Type": content_type})


def check(proposals: list[Proposal]) -> None:
    """Fail unless every proposal is valid, and its text is read back as the same table."""
    for proposal in proposals:
        SpiderTable.model_validate(proposal.table)
        assert tomllib.loads(spider_toml("x", proposal.table)) == {"spiders": {"x": proposal.table}}
        assert 0 <= proposal.confidence <= 1
        assert len(proposal.rows) <= 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_first_proposal_has_the_rows_that_a_reader_sees(case: Case) -> None:
    proposals = suggest(document(case.html, case.url))
    check(proposals)
    check_names_and_keys(proposals)
    best = proposals[0]
    assert best.count == case.count, best.table
    assert {name: best.rows[1].get(name) for name in case.second} == case.second, best.table


def check_names_and_keys(proposals: list[Proposal]) -> None:
    """Fail if a proposal uses a generated name, or a key that is not different in every row."""
    for proposal in proposals:
        written = spider_toml("x", proposal.table)
        assert not [generated for generated in ("x7a9f", "hJkLmN", "score_4", "#v1-", ".post-1") if generated in written]
        key = proposal.table["items"].get("key", [])
        assert not key or len({tuple(row[name] for name in key) for row in proposal.rows}) == len(proposal.rows)


def test_the_same_page_has_the_same_proposals() -> None:
    case = CASES[0]
    assert suggest(document(case.html)) == suggest(document(case.html))


RECORDS = [{"id": number, "title": f"Title {number} of many", "url": f"/p/{number}", "price": {"amount": number + 0.5},
            "odd key": number * 2, "created": f"2026-11-{number + 10}"} for number in range(10)]


@pytest.mark.parametrize(("value", "expression"), [
    ({"data": {"items": RECORDS}}, "data.items"), (RECORDS, "@"), ({"a b": [{"rows": RECORDS[:5]}, {"rows": RECORDS[5:]}]}, '"a b"[].rows[]'),
    ({"by_id": {str(entry["id"]): entry for entry in RECORDS}}, "by_id.*")], ids=str)
def test_json_is_read_with_jmespath(value: object, expression: str) -> None:
    for html, each in ((json.dumps(value), {"jmes": expression}),
                       (f'<body><script id="__DATA__" type="application/json">{json.dumps(value)}</script></body>',
                        {"json": "script#__DATA__", "jmes": expression})):
        proposals = suggest(document(html))
        check(proposals)
        assert proposals[0].table["items"]["each"] == each
        assert proposals[0].count == 10
        assert proposals[0].rows[1] == {"title": "Title 1 of many", "url": "https://site.example/p/1", "id": "1", "price": 1.5, "odd_key": 2,
                                        "created": "2026-11-11"}


def test_json_ld_is_read_by_type_and_as_a_list_of_items() -> None:
    products = [{"@type": "Product", "name": f"Product {number}", "url": f"/p/{number}", "offers": {"price": f"{number}.5"}} for number in range(6)]
    listed = {"@type": "ItemList", "itemListElement": [{"@type": "ListItem", "item": product} for product in products]}
    for value in (products, listed):
        html = f'<body><script type="application/ld+json">{json.dumps(value)}</script></body>'
        best = suggest(document(html))[0]
        check([best])
        assert (best.kind, best.count) == ("json-ld", 6)
        assert best.rows[1]["title"] == "Product 1"
        assert best.rows[1]["url"] == "https://site.example/p/1"


@pytest.mark.parametrize(("text", "kind", "table"), [
    ('<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>' + rows("<item><title>T{i}</title><link>https://x/{i}</link></item>")
     + "</channel></rss>", "feed", {"spider": "feed"}),
    ('{"version": "https://jsonfeed.org/version/1.1", "title": "t", "items": [' + ",".join(f'{{"id": "{i}", "url": "/{i}"}}' for i in range(12)) + "]}",
     "feed", {"spider": "feed"}),
    ('<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">' + rows("<url><loc>https://site.example/{i}</loc></url>") + "</urlset>",
     "sitemap", {"spider": "sitemap"})], ids=["RSS", "JSON Feed", "sitemap"])
def test_a_feed_and_a_sitemap_are_read_by_their_spider(text: str, kind: str, table: dict[str, str]) -> None:
    [proposal] = suggest(document(text))
    assert (proposal.kind, proposal.table, proposal.count) == (kind, {**table, "start": ["https://site.example/list"]}, 12)


def test_many_comments_before_the_page_are_read_in_linear_time() -> None:
    start = time.process_time()
    assert not is_data(document("<!--[if IE]><html><![endif]-->\n" * 200 + "<html><body><ul><li>x"))
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("tag", ["g:price", "o:p"])
def test_a_tag_that_is_no_selector_breaks_nothing(tag: str) -> None:
    records = "".join(f"<li class=row><h3><a href=/item/{number}>Interesting title number {number}</a></h3>" + (
        f"<p class=pp><{tag} class=price>{number}2.50 €</{tag}></p>" if number % 4 else "") + "</li>" for number in range(16))
    assert suggest(document(f"<ul>{records}</ul>"))


def test_a_csv_file_is_read_by_its_columns() -> None:
    [proposal] = suggest(document("id;name;price\n" + rows("{i};{title};{i},50\n"), "https://site.example/a.csv", "text/csv"))
    check([proposal])
    assert proposal.count == 12
    assert proposal.rows[1] == {"title": title(1), "id": "1", "price": {"amount": 1.5, "currency": None, "text": "1,50"}}


def test_the_feed_of_a_page_is_one_of_the_proposals() -> None:
    html = page('<ul class="posts">' + rows('<li class="post"><h3><a href="/{i}">{title}</a></h3><p>{text}</p></li>') + "</ul>").replace(
        "<title>", '<link rel="alternate" type="application/atom+xml" href="/feed.xml" title="News"><title>')
    assert [proposal.kind for proposal in suggest(document(html))][-1] == "feed"
    assert suggest(document(html))[-1].table == {"spider": "feed", "start": ["https://site.example/feed.xml"]}


_TAGS = st.sampled_from(["div", "ul", "li", "table", "tr", "td", "th", "a", "p", "span", "h2", "dl", "dt", "dd", "pre", "img", "time", "nav", "b",
                         "article", "section", "script", "template", "svg", "select", "option", "form", "frameset", "body", "caption"])
_TEXTS = st.sampled_from(["", "a", "b1", "12 comments", "£3.50", "2026-11-02", "\x00", "]]>", "'", '"', "\\", "日本", "&lt;", "{x}", "\ufffd", "next", "»",
                          "0", "-", "post-12", "css-1x2y3z", "javascript:x", "?page=2", "#x", "http://[", "a b", "\u202e", "1e400"])
_ATTRIBUTES = st.lists(st.tuples(st.sampled_from(["class", "id", "href", "title", "datetime", "itemprop", "itemtype", "data-id", "data-href", "src",
                                                  "rel", "role", "data-x:y", "itemscope"]), _TEXTS), max_size=3)


def _element(tag: str, attributes: list[tuple[str, str]], inner: list[str], times: int) -> str:
    written = "".join(f' {name}="{value}"' for name, value in attributes)
    return f"<{tag}{written}>{''.join(inner)}</{tag}>" * times


_MARKUP = st.recursive(_TEXTS, lambda inner: st.builds(_element, _TAGS, _ATTRIBUTES, st.lists(inner, max_size=4), st.integers(1, 4)), max_leaves=14)


@settings(max_examples=60, deadline=None)
@given(_MARKUP)
def test_no_markup_breaks_it_and_every_proposal_is_valid(html: str) -> None:
    check(suggest(document(html)))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(CASES), st.integers(0, 2**32))
def test_no_damage_to_a_page_breaks_it(case: Case, seed: int) -> None:
    chance = random.Random(seed)
    html = case.html
    for _ in range(chance.randint(1, 12)):
        start = chance.randrange(len(html))
        html = html[:start] + chance.choice(["", "<", ">", '"', "</div>", "<table>", "\x00", "&", "<!--", html[:40]]) + html[start + chance.randint(0, 9):]
    check(suggest(document(html, case.url)))


@pytest.mark.parametrize("html", [
    "", " ", "<", "plain text", "<html>", "<frameset><frame></frameset>", "\x00", "[]", "{}", "null", '{"a": [1, 2]}', "<?xml version='1.0'?>", "<rss>",
    "<urlset>", "[" * 5_000, "a,b\n1,2\n1,2\n", "<ul>" + "<li>x" * 31_000, "<div>" * 5_000 + "x", "<ul><li>a" * 5_000, "<a href=x>" * 3_000,
    "<table>" + "<tr><td>1<td>2" * 2_000, "<p>" + "x" * 10_000_000], ids=lambda html: f"{html[:20]!r} {len(html)}")
def test_empty_deep_wide_and_long_pages_are_answered(html: str) -> None:
    check(suggest(document(html)))


def test_fields_that_change_without_news_are_ignored() -> None:
    html = page('<ol class="hits">' + rows('<li class="hit"><i class="rank">{day}</i><a href="/{i}">{title}</a><b class="age">{i} hours ago</b></li>') + "</ol>")
    best = suggest(document(html))[0]
    assert best.table["items"]["ignore"] == ["rank", "date"]
    assert best.notes == ["changes of rank, date are ignored, because they are different in each run"]
