"""login.check, login.expired, login.token and banned match a page exactly as `items` do."""

from __future__ import annotations

import pytest

from pipeline.crawl.extract import ItemRules
from pipeline.documents import Document, PageCheck
from pipeline.errors import SpiderError
from pipeline.session.page import Answer, Page
from pipeline.settings import FieldTable, SelectorTable

URL = "https://site.example/in"
HTML = """<!doctype html><title> In </title><template><a href=/logout class=t>out</a></template><noscript><b id=n>x</b></noscript>
<p id=a>one <i>two</i></p></body></html><p id=late>late</p><script type="application/json" id=s>{"user": {"id": 7, "no": null}}</script>
<table><tr><td id=cell>cell</table><div hidden id=e></div>"""
JSON = '{"ok": true, "bad": false, "none": null, "zero": 0, "text": "t", "empty": "", "list": [], "rows": [{"id": 1}]}'


def page_of(text: str) -> Page:
    return Page(Answer(URL, 200, {"X-User": "me", "Content-Type": "text/html; charset=utf-8"}, text.encode()))


RULES: dict[str, tuple[str, dict[str, str], str | None]] = {
    "css": (HTML, {"css": "#a"}, "one two"), "css of text": (HTML, {"css": "#a::text"}, "one"),
    "css of an attribute": (HTML, {"css": "p::attr(id)"}, "a"), "css that finds nothing": (HTML, {"css": "#zz"}, None),
    "css in a template": (HTML, {"css": "a[href*=logout]"}, None), "xpath in a template": (HTML, {"xpath": "//a"}, None),
    "css after </html>": (HTML, {"css": "#late"}, "late"), "xpath after </html>": (HTML, {"xpath": "//*[@id='late']"}, "late"),
    "css in noscript": (HTML, {"css": "#n"}, "x"), "xpath in noscript": (HTML, {"xpath": "//*[@id='n']"}, "x"),
    "css in a table": (HTML, {"css": "tr #cell"}, "cell"), "xpath in a table": (HTML, {"xpath": "//tr//td"}, "cell"),
    "css of lxml": (HTML, {"css": "p:contains('two')"}, "one two"), "xpath of text": (HTML, {"xpath": "//i/text()"}, "two"),
    "a regular expression": (HTML, {"regex": "one <i>(t..)"}, "two"),
    "css with a regular expression": (HTML, {"css": "p", "regex": "l(a)te"}, "a"),
    "css whose expression does not match": (HTML, {"css": "p", "regex": "three"}, None),
    "json of a script": (HTML, {"json": "#s", "jmes": "user.id"}, "7"), "its null": (HTML, {"json": "#s", "jmes": "user.no"}, None),
    "a header": (HTML, {"header": "x-user"}, "me"), "a header that is missing": (HTML, {"header": "X-No"}, None),
    "the title": (HTML, {"page": "title"}, "In"), "the status": (HTML, {"page": "status"}, "200"),
    "the url": (HTML, {"page": "url", "regex": "/in$"}, "/in"), "jmes": (JSON, {"jmes": "text"}, "t"),
    "jmes of a list": (JSON, {"jmes": "rows[].id"}, "1"), "jmes of what is no JSON": (HTML, {"jmes": "ok"}, None),
}


@pytest.mark.parametrize(("text", "rule", "found"), RULES.values(), ids=RULES)
def test_a_login_check_and_a_field_find_the_same(text: str, rule: dict[str, str], found: str | None) -> None:
    page = page_of(text)
    selector = SelectorTable.model_validate(rule)
    assert page.matches(selector) is (found is not None)
    assert page.value(selector) == (found or "")
    field = FieldTable.model_validate(rule)
    extracted = ItemRules({"field": field}).extract(page.document)
    assert [str(item["field"]) for item in extracted.items] == ([] if found is None else [
        "one two" if rule == {"css": "#a"} else found])


@pytest.mark.parametrize(("text", "rule", "holds"), [
    (JSON, {"jmes": "ok"}, True), (JSON, {"jmes": "bad"}, False), (JSON, {"jmes": "none"}, False),
    (JSON, {"jmes": "zero"}, False), (JSON, {"jmes": "empty"}, False), (JSON, {"jmes": "list"}, False),
    (HTML, {"xpath": "count(//p) = 2"}, True), (HTML, {"xpath": "count(//p) = 3"}, False), (HTML, {"xpath": "count(//zz)"}, False),
    (HTML, {"xpath": "count(//p)"}, True), (HTML, {"xpath": "string(//zz)"}, False), (HTML, {"css": "#e"}, True)])
def test_false_and_empty_values_are_no_match(text: str, rule: dict[str, str], holds: bool) -> None:
    assert page_of(text).matches(SelectorTable.model_validate(rule)) is holds


@pytest.mark.parametrize("rule", [{"xpath": "//p[re:test(., 'a', '', 3, 4)]"}, {"xpath": "//p[re:test(., '(')]"}, {"css": "p", "regex": "(a|aa)+$"}])
def test_a_rule_that_cannot_be_applied_raises_an_error(rule: dict[str, str]) -> None:
    with pytest.raises(SpiderError, match="not a valid selector"):
        page_of("<p>" + "a" * 60 + "b</p>").matches(SelectorTable.model_validate(rule))


def test_a_rule_is_compiled_once_for_many_pages() -> None:
    proof = PageCheck(SelectorTable(css="p"))
    pages = [Document(url=URL, status=200, text=text, headers=dict) for text in ("<p>a", "<b>b", "<p>c")]
    assert [proof.first(page) for page in pages] == ["a", "", "c"]
