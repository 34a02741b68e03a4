"""Selectors are short and stable: names with a meaning before positions, and no generated names."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.crawl.suggest.selectors import is_generated, is_utility, selector_for


@pytest.mark.parametrize("name", [
    "css-1x2y3z", "sc-bdVaJa", "svelte-1a2b3c", "jss12", "Card_root__x7a9f", "post-4711", "thread_12", "row-7", "a1b2c3d4e5", "ember482", "kXyPqz",
    "item--x9Yz1", "xkcdq", "r123", "42"])
def test_a_hash_or_a_counter_is_a_generated_name(name: str) -> None:
    assert is_generated(name)


@pytest.mark.parametrize("name", [
    "product_pod", "entry-title", "s-item__link", "athing", "titleline", "bz_short_desc_column", "wp-block-post-title", "新闻",
    "woocommerce-loop-product__title", "btn", "js-post", "views-field-title", "hnuser"])
def test_a_name_that_a_person_chose_is_not_generated(name: str) -> None:
    assert not is_generated(name)


@pytest.mark.parametrize("name", ["mt-4", "col-md-6", "hover:underline", "text-lg", "odd", "row", "flex", "d-none", "w-1/2"])
def test_a_class_of_the_look_has_no_meaning(name: str) -> None:
    assert is_utility(name)


def _scopes(html: str) -> list[LexborNode]:
    root = LexborHTMLParser(html).root
    assert root is not None
    return root.css("li")


@pytest.mark.parametrize(("row", "target", "selector"), [
    ('<h3 itemprop="name">t</h3>', "h3", "[itemprop=name]"), ('<b class="x">a</b><b class="price mt-4">t</b>', ".price", ".price"),
    ('<a href="/i"><img></a><h3><a href="/t">t</a></h3>', "h3 a", "h3 a"), ("<span>a</span><span>t</span>", "span + span", "span:last-child"),
    ('<i class="css-1x2y3z">a</i><b class="css-9z8y7x">t</b>', "b", "b"), ('<a href="/a">1</a><a data-testid="title" href="/t">t</a>', "a + a",
                                                                          "a[data-testid='title']")])
def test_the_most_stable_selector_is_chosen(row: str, target: str, selector: str) -> None:
    scopes = _scopes("<ul>" + f"<li>{row}</li>" * 3 + "</ul>")
    nodes = [node for scope in scopes if (node := scope.css_first(target)) is not None]
    assert selector_for(nodes[0], scopes[0], rivals=list(zip(scopes[1:], nodes[1:], strict=True))) == selector


def test_a_selector_that_finds_something_where_nothing_is_expected_is_not_chosen() -> None:
    scopes = _scopes("<ul><li><b>a</b><b class=note>n</b></li><li><b>a</b></li></ul>")
    assert selector_for(scopes[0].css(".note")[0], scopes[0], rivals=[(scopes[1], None)]) == ".note"
    assert selector_for(scopes[0].css("b")[0], scopes[0], rivals=[(scopes[1], None)], share=1) != "b"
