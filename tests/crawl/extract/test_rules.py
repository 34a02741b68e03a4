"""Rules on documents: their values and links, rejected items, and broken or very large pages."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.crawl.extract import (
    CompiledRule,
    Document,
    ItemRules,
    LinkRules,
    RuleFailedError,
    without_tracking,
)
from pipeline.crawl.extract.page_text import page_text
from pipeline.settings import ItemsTable, SelectorTable

URL = "http://site.example/dir/page"


def document(text: str, **more: Any) -> Document:
    return Document(url=more.pop("url", URL), status=200, text=text, headers=lambda: more)


def values(rule: dict[str, Any], text: str) -> list[Any]:
    return CompiledRule(SelectorTable(**rule)).values(document(text))


def extract(table: dict[str, Any], text: str) -> Any:
    items = ItemsTable.model_validate(table)
    return ItemRules(items.fields, items.each, items.details.link if items.details else None).extract(document(text))


@pytest.mark.parametrize(("rule", "text", "expected"), [
    ({"css": "p", "strip": "€ -"}, "<p> €5- </p>", ["5"]),
    ({"css": "p", "type": "raw"}, "<p> a \n b</p>", [" a \n b"]),
    ({"css": "p", "type": "date", "format": "%d.%m.%Y"}, "<p>03.02.2001</p>", ["2001-02-03"]),
    ({"css": "p", "type": "date", "format": "%d/%m/%y %H:%M"}, "<p>03/02/01 04:05</p>", ["2001-02-03T04:05:00"]),
    ({"css": "p", "type": "date"}, "<p>2001-02-03T04:05:06Z</p>", ["2001-02-03T04:05:06+00:00"]),
    ({"css": "p", "type": "date"}, "<p>Sat, 03 Feb 2001 04:05:06 +0100</p>", ["2001-02-03T04:05:06+01:00"]),
    ({"css": "p", "type": "date"}, "<p>2001-02-03</p>", ["2001-02-03"]),
    ({"css": "p", "type": "date", "guess": ["de", "fr"]},
     "<p>Montag, 3. März 2024</p><p>le 14 juillet 2023 à 15:30</p>", ["2024-03-03", "2023-07-14T15:30:00"]),
    ({"css": "p", "type": "date", "guess": ["zh"]}, "<p>2024年3月5日</p>", ["2024-03-05"]),
    ({"css": "a", "type": "url"}, "<a>../up</a>", ["http://site.example/up"]),
    ({"css": "img::attr(src)"}, "<base href='http://cdn.example/x/'><img src=a.png>", ["http://cdn.example/x/a.png"]),
    ({"regex": "id=(\\d+)"}, "<a href='?id=12'>", ["12"]),
    ({"css": "p", "regex": "(\\d+) of"}, "<p>3 of 4</p><p>none</p>", ["3"]),
    ({"jmes": "a.b"}, '{"a": {"b": [1, 2]}}', ["1", "2"]),
    ({"jmes": "a", "type": "json"}, '{"a": {"b": [1, 2]}}', [{"b": [1, 2]}]),
    ({"jmes": "a.b", "type": "json"}, '{"a": {"b": [1, [2]]}}', [[1, [2]]]),
    ({"jmes": "a.b", "type": "json", "many": True}, '{"a": {"b": [1, [2]]}}', [1, [2]]),
    ({"json": "script#__NEXT_DATA__", "jmes": "props.n", "type": "number"},
     '<script id="__NEXT_DATA__" type="application/json">{"props": {"n": 3}}</script>', [3]),
    ({"json": "script", "jmes": "a"}, "<script>window.__STATE__ = {\"a\": \"x\"}; more();</script>", ["x"]),
    ({"json": "script", "jmes": "a"}, "<script>alert(1)</script>", []),
    ({"data": "json-ld", "jmes": "[?\"@type\"=='Product'].name"},
     '<script type="application/ld+json">{"@graph": [{"@type": "Product", "name": "Pen"}, {"@type": "X"}]}</script>', ["Pen"]),
    ({"data": "opengraph", "jmes": '"og:title"'}, '<meta property="og:title" content="T &amp; U">', ["T & U"]),
    ({"data": "microdata", "jmes": "[0].offers.price", "type": "number"}, """<div itemscope itemtype="x:Product">
        <b itemprop=name>Pen</b><p itemprop=offers itemscope><meta itemprop=price content="1.5"></p></div>""", [1.5]),
    ({"data": "csv", "jmes": "[].price", "type": "number"}, "name;price\r\nPen;1,5\r\n\"a;b\";2\r\n", [1.5, 2]),
    ({"css": ":is(p"}, "<p>", "not a CSS selector"),
    ({"css": "p", "format": "%d"}, "", "can be used only with type"),
    ({"css": "p", "guess": True}, "", "can be used only with type"),
    ({"css": "p", "type": "date", "guess": ["german"]}, "", "not a supported language for dates"),
    ({"css": "p", "json": "script"}, "", "can be used only with `jmes`"),
    ({"regex": "("}, "", "not a regular expression"),
    ({"css": "p", "type": "date", "format": "%"}, "", "not a date format"),
])
def test_rules_convert_their_matches_to_values(rule: dict[str, Any], text: str, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValidationError, match=expected):
            SelectorTable(**rule)
    else:
        assert values(rule, text) == expected


def test_fields_may_be_records_and_lists_of_records() -> None:
    found = extract({"each": "li", "fields": {
        "name": "b",
        "seller": {"fields": {"name": "i", "mail": {"css": "i::attr(data-mail)"}}},
        "offers": {"each": "u", "fields": {"price": {"css": "s", "type": "number"}, "shop": "em"}},
        "tags": {"css": "q", "join": ", "}}},
        "<ul><li><b>A</b><i data-mail=m>S</i><u><s>1</s><em>x</em></u><u><s>2</s></u><q>t1</q><q>t2</q></li><li><b>B</b></li></ul>")
    assert found.rejected == []
    assert found.items == [
        {"name": "A", "seller": {"name": "S", "mail": "m"},
         "offers": [{"price": 1, "shop": "x"}, {"price": 2, "shop": None}], "tags": "t1, t2"},
        {"name": "B", "seller": None, "offers": [], "tags": None}]


def test_items_come_from_json_while_rules_for_html_read_the_page() -> None:
    page = '<h1>Shop</h1><script id=d type=json>{"rows": [{"id": 1, "of": {"n": "a"}}, {"id": 2}]}</script>'
    found = extract({"each": {"json": "script#d", "jmes": "rows"}, "fields": {
        "id": {"jmes": "id", "type": "number"}, "n": {"jmes": "of.n"}, "shop": "h1"}}, page)
    assert found.items == [{"id": 1, "n": "a", "shop": "Shop"}, {"id": 2, "n": None, "shop": "Shop"}]


def test_an_item_that_breaks_a_rule_is_rejected_with_the_reason() -> None:
    found = extract({"each": "li", "fields": {
        "name": {"css": "b", "required": True}, "price": {"css": "i", "type": "number"},
        "kind": {"css": "u", "type": "number", "default": 0}}},
        "<li><b>A</b><i>1</i></li><li><i>2</i></li><li><b>C</b><i>ask us</i></li><li><b>D</b><u>odd</u></li><li></li>")
    assert [item["name"] for item in found.items] == ["A", "D"]
    assert found.items[1]["kind"] == 0
    assert [(rejected.reason, rejected.data["price"]) for rejected in found.rejected] == [
        ("name: the field is required, but was not found", 2), ("price: 'ask us' is not a number", None)]


def test_a_regular_expression_that_backtracks_catastrophically_fails_its_rule_in_time() -> None:
    begun = time.process_time()
    found = extract({"fields": {"x": {"css": "p", "regex": "(a|aa)+$"}, "y": "b"}}, f"<p>{'a' * 60}b</p><b>y</b>")
    assert time.process_time() - begun < 2
    assert found.items == []
    assert "took longer than 0.1 s" in found.rejected[0].reason
    assert found.rejected[0].data["y"] == "y"


def test_tracking_parameters_are_removed_and_the_others_keep_their_order() -> None:
    url = "http://h/p?b=2&utm_source=x&a=1&fbclid=z&GCLID=q&session=9"
    assert without_tracking(url, frozenset({"session"})) == "http://h/p?b=2&a=1"
    assert without_tracking("http://h/p?utm_campaign=x") == "http://h/p"


@pytest.mark.parametrize(("url", "expected"), [
    ("http://h/a;jsessionid=1F/b;v=2?x=1", "http://h/a/b;v=2?x=1"), ("http://h/a;v=1;jsessionid=2", "http://h/a;v=1"),
    ("http://h/a?b;jsessionid=1", "http://h/a?b;jsessionid=1"), ("http://h/;jsessionid=1", "http://h/"),
    ("http://u;jsessionid=1@h/x;y", "http://u;jsessionid=1@h/x;y")])
def test_parameters_of_drop_params_are_removed_from_the_path_too(url: str, expected: str) -> None:
    assert without_tracking(url, frozenset({"jsessionid"})) == expected
    assert without_tracking(url) == url


@pytest.mark.parametrize("rule", [{"css": "main > *"}, {"xpath": "//main//*"}])
def test_each_kind_of_element_has_its_own_link_attributes(rule: dict[str, str]) -> None:
    page = document('<main><a href=a>1</a><area href=b><link href=c><iframe src=d></iframe><object data=e></object>'
                    '<video poster=f></video><source srcset="g 1x, h,i 2x"><img src=j srcset=k><img srcset="l"><embed src=m>'
                    '<span data=no poster=no>2</span><audio src=n></audio><track src=o></main>')
    assert [link.removeprefix("http://site.example/dir/") for link in LinkRules([SelectorTable(**rule)]).links(page)] == [
        "a", "b", "c", "d", "e", "f", "g", "h,i", "j", "l", "m", "n", "o"]


@pytest.mark.parametrize("rule", [{"css": "img::attr(srcset)"}, {"xpath": "//img/@srcset"}])
@pytest.mark.parametrize(("srcset", "links"), [
    ("a.jpg 1x, b.jpg 2x", ["a.jpg", "b.jpg"]), ("a.jpg, b.jpg", ["a.jpg", "b.jpg"]), ("a,b 2x,c", ["a,b", "c"]),
    (" , a.jpg 100w ,b.jpg 200w,", ["a.jpg", "b.jpg"]), ("/w_2,h_3/a 2x", ["/w_2,h_3/a"]), ("a (1, 2), b", ["a", "b"]),
    ("", []), (",,", [])])
def test_a_srcset_has_one_link_for_each_candidate(rule: dict[str, str], srcset: str, links: list[str]) -> None:
    page = document(f'<img src=x srcset="{srcset}">')
    assert CompiledRule(SelectorTable(**rule)).links(page) == links


def test_allow_and_deny_filter_the_links_of_follow() -> None:
    page = document("<a href=/a/1>1</a><a href=/a/2?utm_id=3>2</a><a href=/b/1>3</a><a href=/a/print>4</a><a href=/a/1#x>5</a>")
    rules = LinkRules([SelectorTable(css="a")], allow=["/a/"], deny=["print$"])
    assert rules.links(page) == ["http://site.example/a/1", "http://site.example/a/2"]


def test_patterns_beyond_ascii_match_the_percent_decoded_url() -> None:
    page = document("<a href=/книги/1>1</a><a href=/%D0%BA%D0%BD%D0%B8%D0%B3%D0%B8/2>2</a><a href=/книги/нет>3</a><a href=/x>4</a>")
    rules = LinkRules([SelectorTable(css="a")], allow=["/книги/"], deny=["нет$"])
    assert [url.rpartition("/")[2] for url in rules.links(page)] == ["1", "2"]


@pytest.mark.parametrize("text", [
    "", " ", "\0\0\0", "<", "<html", "<p>a<p>b<table><tr><p>x</table></div></div>", "<a href='x", "\ufffd" * 1000,
    "<div>" * 20_000, "<svg><p></svg><p>", "{", "[" * 100_000, '{"a": NaN}', "<script>{</script>",
    "<!--" + "x" * 100_000, "<p " + "a=b " * 10_000 + ">", "&" * 10_000 + "&#x110000;&#0;"])
def test_broken_pages_fail_no_rule(text: str) -> None:
    page = document(text)
    for rule in (SelectorTable(css="p"), SelectorTable(xpath="//p"), SelectorTable(jmes="a"), SelectorTable(page="title"),
                 SelectorTable(json="script", jmes="a"), SelectorTable(data="json-ld"), SelectorTable(data="microdata"),
                 SelectorTable(data="opengraph"), SelectorTable(data="csv"), SelectorTable(css="p", type="html")):
        with suppress(RuleFailedError):
            json.dumps(CompiledRule(rule).values(page))
    LinkRules([SelectorTable(css="a")]).links(page)
    page_text(text)


def test_a_page_of_20_mb_and_a_page_with_100_000_links_are_extracted() -> None:
    big = document("<ul>" + "<li><a href='/i?n=1'>item</a> text</li>" * 500_000 + "</ul><h1>end</h1>")
    assert len(big.text) > 19e6
    begun = time.process_time()
    assert CompiledRule(SelectorTable(css="h1")).values(big) == ["end"]
    many = document("".join(f"<a href='/i/{n}'>x</a>" for n in range(100_000)))
    assert len(LinkRules([SelectorTable(css="a")], deny=["/99999$"]).links(many)) == 99_999
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("text", ["vor 3 Tagen", "Mai 2024", "gestern", "1" * 5000])
def test_only_complete_dates_are_guessed(text: str) -> None:
    with pytest.raises(RuleFailedError, match="not in a recognized date format"):
        values({"css": "p", "type": "date", "guess": ["de"]}, f"<p>{text}</p>")


def test_rules_that_cannot_be_applied_fail_with_a_reason() -> None:
    with pytest.raises(RuleFailedError, match="sort_by"):
        values({"jmes": "sort_by(@, &a)"}, '[{"a": 1}, {"a": "x"}]')


DOCS = sorted(path for path in Path("/usr/share/doc").rglob("*.html") if path.is_file() and path.stat().st_size > 2000)[::7][:60]


@pytest.mark.skipif(not DOCS, reason="no HTML documentation on this machine")
def test_real_documentation_gives_the_same_links_with_both_parsers() -> None:
    """lexbor and libxml2 find the same titles and links in pages of other projects."""
    agreeing = 0
    for path in DOCS:
        page = document(path.read_bytes().decode("utf-8", "replace"), url=path.as_uri().replace("file://", "http://docs.example"))
        titles = [[" ".join(str(found).split()) for found in CompiledRule(rule).values(page)][:1] for rule in (
            SelectorTable(css="title"), SelectorTable(xpath="//title"))]
        links = [set(LinkRules([rule]).links(page)) for rule in (SelectorTable(css="a[href]"), SelectorTable(xpath="//a[@href]"))]
        assert titles[0] == titles[1], path
        agreeing += links[0] == links[1]
        assert len(links[0] ^ links[1]) <= 0.02 * len(links[0] | links[1]) + 1, path
        assert page_text(page.text) or "<script" in page.text, path
    assert agreeing >= 0.9 * len(DOCS)
