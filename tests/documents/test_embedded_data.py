"""Data inside pages: JavaScript objects, JSON-LD, microdata, OpenGraph."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pipeline.crawl.extract import CompiledRule, Document, RuleFailedError
from pipeline.documents.scripts import UnreadableError, script_values
from pipeline.settings import SelectorTable


def values(rule: dict[str, Any], text: str) -> list[Any]:
    return CompiledRule(SelectorTable(**rule)).values(
        Document(url="http://site.example/dir/page", status=200, text=text, headers=dict))


@pytest.mark.parametrize(("text", "expected"), [
    ('{"a":"x\n\ty"}', {"a": "x\n\ty"}), ('{"a":1,}', {"a": 1}), ("[1,2,]", [1, 2]), ("{a:1,$b:2}", {"a": 1, "$b": 2}),
    ("{'a':'it\\'s'}", {"a": "it's"}), ("{a:'say \"hi\"'}", {"a": 'say "hi"'}), ("{a:`t\nx`}", {"a": "t\nx"}),
    ('// c\n{"a":1}', {"a": 1}), ('/* c */{"a":/*x*/1}', {"a": 1}), ('{"a":"x" // c\n}', {"a": "x"}),
    ("{/*c*/a/*d*/:1//e\n}", {"a": 1}), ('{"url":"http://x//y",}', {"url": "http://x//y"}),
    ('{"a":"<!-- x -->",}', {"a": "<!-- x -->"}), ('{"a":1};', {"a": 1}), ('\ufeff{"a":1}', {"a": 1}),
    ('//<![CDATA[\n{"a":1}\n//]]>', {"a": 1}), ('<![CDATA[{"a":1}]]>', {"a": 1}), ('/*<![CDATA[*/{"a":1}/*]]>*/', {"a": 1}),
    ('<!-- schema -->\n{"a":1}', {"a": 1}), ('<!--\n{"a":1}\n-->', {"a": 1}),
    ('<!--//--><![CDATA[//><!--\n{"a":1}\n//--><!]]>', {"a": 1}),
    ('window.X = {"a":1};more()', {"a": 1}), ('window["X"]={a:1}', {"a": 1}), ("var a = b = {c:1}", {"c": 1}),
    ('window.A=1;\nwindow.__S__={"a":[1,2,],};', {"a": [1, 2]}), ("export default {a:1}", {"a": 1}),
    ("window.dataLayer = window.dataLayer || [];\ndataLayer.push({a:1});", {"a": 1}),
    ('var x = JSON.parse("{\\"a\\":\\"b\\\\u0041\\"}")', {"a": "bA"}), ("var x = JSON.parse('{\"a\":\"b\\x41\"}')", {"a": "bA"}),
    ('{"a":null,b:true,c:[true,null,false,1]}', {"a": None, "b": True, "c": [True, None, False, 1]}),
    ("{a:undefined,c:!0,d:void 0,n:NaN}", {"a": None, "c": True, "d": None, "n": None}),
    ('{"a":"\\x41\\\nb\\q",}', {"a": "Abq"}), ("{p:.5,x:0x10}", {"p": 0.5, "x": 16}), ("{&quot;a&quot;:1}", {"a": 1}),
    ("3", 3), ("alert(1)", None), ("if (a[1]) { b() }", None), ('a == {"b":1}', None), ("/* {a:1} */", None), ("", None)])
def test_javascript_objects_are_read_as_pages_write_them(text: str, expected: Any) -> None:
    assert next(iter(script_values(text, limit=1)), None) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ('{"a":1}\n{"b":2},{"c":3,}', [{"a": 1}, {"b": 2}, {"c": 3}]), ('{"a":1,}{"b":2,}\n[{"c":3}]', [{"a": 1}, {"b": 2}, [{"c": 3}]]),
    ('{"a":1,};\n// next\n{b:2}', [{"a": 1}, {"b": 2}]), ('<!-- 1 -->{"a":1}<!-- 2 -->{"b":2}', [{"a": 1}, {"b": 2}]),
    ('//<![CDATA[\n{"a":1}\n//]]>\n//<![CDATA[\n{"b":2}\n//]]>', [{"a": 1}, {"b": 2}]), ("<![CDATA[{a:1}]]>\n<![CDATA[{b:2}]]>", [{"a": 1}, {"b": 2}]),
    ('{"a":1}}\n{"b":2}]', [{"a": 1}, {"b": 2}]), ("null", [None]), ('"x"', ["x"]), ("{}", [{}]), ("{a:'}'}{b:\"]\"}", [{"a": "}"}, {"b": "]"}]),
    ('window.X = {"a":1};window.Y = {"b":2};', [{"a": 1}, {"b": 2}]), ("window.X = {a:1}\nwindow.Y = {b:2}", [{"a": 1}, {"b": 2}]),
    ("var x = {a:1}, y = [2,],\n  z = {c:3};", [{"a": 1}, [2], {"c": 3}]), ("let x={a:1}; const y={b:2}", [{"a": 1}, {"b": 2}]),
    ("window.X={a:1};(function(){ var t = {b:2,}; go(t) })();window['Z']={c:3}", [{"a": 1}, {"b": 2}, {"c": 3}]),
    ("push([1]);dataLayer.push({a:1,});\ndataLayer.push({b:2});", [{"a": 1}, {"b": 2}]), ("a={x:1};b=JSON.parse('{\"y\":2}');c={z:3}", [{"x": 1}, {"y": 2}, {"z": 3}]),
    ("X={'a' 'b'};window.Y={b:2}", [{"b": 2}]), ("var a = {x:1}; function f(){ return {y:2} }\nb = {z:3}", [{"x": 1}, {"z": 3}]),
    ("self.__next_f.push([1,\"a\"])\nself.__next_f.push([1,\"b\"])", [[1, "a"], [1, "b"]])])
def test_all_objects_and_statements_of_one_script_are_read(text: str, expected: list[Any]) -> None:
    assert script_values(text) == expected


def test_rules_are_applied_to_every_value_of_a_script() -> None:
    page = """<script type="application/ld+json">{"@type":"WebPage"}\n{"@type":"Product","name":"P",}\n[{"@graph":[{"name":"Q"}]}]</script>
        <script id=s>window.A = {"x": 1};\nwindow.B = {"x": 2, "y": [3,],};</script>"""
    assert values({"data": "json-ld", "jmes": "[].name"}, page) == ["P", "Q"]
    assert values({"json": "#s", "jmes": "x", "type": "number"}, page) == [1, 2]
    assert values({"json": "#s", "jmes": "y", "type": "number"}, page) == [3]
    assert values({"json": "script", "jmes": "y", "type": "number"}, page) == [3]


@pytest.mark.parametrize("second", ['{"name": "a "b" c"}', 'and [{"name": 1}]'])
def test_a_second_object_that_cannot_be_read_is_reported_in_a_script_of_type_json(second: str) -> None:
    page = f'<script type="application/ld+json">{{"a":1}}\n{second}</script>'
    assert values({"data": "json-ld", "jmes": "[].a"}, page) == ["1"]
    with pytest.raises(RuleFailedError, match=r"cannot be read: (Expecting ',' delimiter|unexpected text after the first value)"):
        values({"data": "json-ld", "jmes": "[].name"}, page)
    assert values({"json": "#s", "jmes": "name"}, f'<script id=s>a={{"a":1}};b={second}</script>') == []


@pytest.mark.parametrize("text", ['{"a":"He said "hi" now"}', '{"a" "b"}', '{"a":"b', "[" * 100_000, "[" * 50_000 + "]" * 50_000,
                                  '{"' + '\\"' * 300_000, "{" + "/*" * 300_000, ";x=JSON.parse(`{`)"])
def test_an_object_that_cannot_be_read_is_reported(text: str) -> None:
    with pytest.raises(UnreadableError):
        script_values(text, limit=1)


AWKWARD = """
import resource
from pipeline.documents.scripts import script_values
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for text in ("/*" * 300_000, "\\n" * 300_000 + "x", "a\\n" * 300_000, ";" * 1_000_000, ";a" * 300_000, "a=\\n" * 200_000):
    assert script_values(text, limit=1) in ([], [None])
"""


def test_reading_a_script_takes_time_proportional_to_its_length() -> None:
    """In linear time these take a second of CPU time, in quadratic time minutes, and the kernel kills the process before."""
    subprocess.run([sys.executable, "-c", AWKWARD], check=True)


BROKEN = '<script type="application/ld+json">{"name": "a "b" c"}</script>'


def test_a_script_that_cannot_be_read_fails_a_rule_without_other_matches() -> None:
    rule = {"data": "json-ld", "jmes": "[].name"}
    with pytest.raises(RuleFailedError, match=r"ld\+json cannot be read: Expecting ',' delimiter.*'\{\"name\"") as raised:
        values(rule, BROKEN)
    assert "line 1 column 13" in str(raised.value)
    assert values(rule, BROKEN + '<script type="application/ld+json">{"name": "ok"}</script>') == ["ok"]
    with pytest.raises(RuleFailedError, match="type application/json contains no JSON: 'oops'"):
        values({"json": "#s", "jmes": "a"}, '<script id=s type="application/json">oops</script>')
    assert values({"json": "script", "jmes": "a"}, "<script>x = [function f() {]</script><script>g()</script>") == []


def test_microdata_is_read_by_the_html_standard() -> None:
    page = """<base href="/b/"><div itemscope itemtype="x:Product" itemid="/p1" itemref="more">
        <data itemprop=sku value=123>one two three</data><meter itemprop=rating value=4.5>4,5</meter>
        <time itemprop=since datetime=2024-01-01>last year</time><time itemprop=until>2 May</time>
        <a itemprop="url link" href="x y">t</a><img itemprop=image src=a.png><img itemprop=image src=b.png>
        <span itemprop=price content="49.90">49,90 €</span><link itemprop=stock href="https://schema.org/InStock">
        <div itemprop=offers itemscope itemtype=x:Offer><b itemprop=price>5</b>
          <div itemprop=seller itemscope><i itemprop=name>S</i></div></div>
        <div itemprop=offers itemscope><b itemprop=price>6</b></div></div><p id=more itemprop=color>red <b>ish</b></p>"""
    assert values({"data": "microdata", "jmes": "[0]", "type": "json"}, page) == [{
        "@type": "x:Product", "@id": "http://site.example/p1", "sku": "123", "rating": "4.5", "since": "2024-01-01",
        "until": "2 May", "url": "http://site.example/b/x%20y", "link": "http://site.example/b/x%20y",
        "image": ["http://site.example/b/a.png", "http://site.example/b/b.png"], "price": "49.90",
        "stock": "https://schema.org/InStock",
        "offers": [{"@type": "x:Offer", "price": "5", "seller": {"name": "S"}}, {"price": "6"}], "color": "red ish"}]


def test_microdata_that_refers_to_itself_or_is_nested_too_deeply_is_limited() -> None:
    rule = {"data": "microdata", "jmes": "[0]", "type": "json"}
    assert values(rule, "<div itemscope itemref='a b' id=a><p id=b itemprop=x itemscope itemref=b>y</p></div>") == [{"x": {}}]
    assert str(values(rule, "<div itemscope>" + "<div itemscope itemprop=a>" * 20_000)).count("{'a'") == 50


def test_metas_with_name_in_place_of_property_are_opengraph_too() -> None:
    assert values({"data": "opengraph", "jmes": "@", "type": "json"},
                  '<meta name="og:title" content="T"><meta name=description content=d>'
                  '<meta property="og:image twitter:image" content=i><meta property="product:price:amount" content=5>') == [
        {"og:title": "T", "og:image": "i", "twitter:image": "i", "product:price:amount": "5"}]
