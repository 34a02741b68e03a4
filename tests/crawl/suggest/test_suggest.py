"""What is proposed for a page, and that nothing in a page can break it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crawl.suggest import Proposal, spider_toml, suggest
from pipeline.documents.document import Document
from pipeline.settings import SpiderTable


def page(html: str, url: str = "https://site.example/list") -> Document:
    return Document(url=url, status=200, text=html, headers=dict)


def check(proposals: list[Proposal]) -> None:
    """Fail unless every proposal is valid, and its text is read back as the same table."""
    for proposal in proposals:
        SpiderTable.model_validate(proposal.table)
        assert tomllib.loads(spider_toml("x", proposal.table)) == {"spiders": {"x": proposal.table}}
        assert 0 <= proposal.confidence <= 1
        assert len(proposal.rows) <= 5


_TAGS = st.sampled_from(["div", "ul", "li", "table", "tr", "td", "th", "a", "p", "span", "h2", "dl", "dt", "dd", "pre", "img", "time", "nav", "b",
                         "article", "section", "script", "template", "svg", "select", "option", "form", "frameset", "body", "caption"])
_WORDS = st.sampled_from(["", "a", "b1", "12 comments", "£3.50", "2026-11-02", "\x00", "]]>", "'", '"', "\\", "日本", "&lt;", "{x}", "\ud800".encode(
    "utf-8", "replace").decode(), "next", "»", "0", "-", "post-12", "css-1x2y3z", "javascript:x", "?page=2", "#x", "http://[", "a b", "\u202e", "1e400"])
_ATTRIBUTES = st.lists(st.tuples(st.sampled_from(["class", "id", "href", "title", "datetime", "itemprop", "itemtype", "data-id", "data-href", "src",
                                                  "rel", "role", "data-x:y", "itemscope"]), _WORDS), max_size=3)
_LEAVES = _WORDS.map(lambda word: word)


def _element(tag: str, attributes: list[tuple[str, str]], inner: list[str], times: int) -> str:
    written = "".join(f' {name}="{value}"' for name, value in attributes)
    return f"<{tag}{written}>{''.join(inner)}</{tag}>" * times


_MARKUP = st.recursive(_LEAVES, lambda inner: st.builds(_element, _TAGS, _ATTRIBUTES, st.lists(inner, max_size=4), st.integers(1, 4)), max_leaves=14)


@settings(max_examples=120, deadline=None)
@given(_MARKUP)
def test_no_markup_breaks_it_and_every_proposal_is_valid(html: str) -> None:
    check(suggest(page(html)))


@pytest.mark.parametrize("html", [
    "", " ", "<", "plain text", "<html>", "<frameset><frame></frameset>", "\x00", "[]", "{}", "null", '{"a": [1, 2]}', "<?xml version='1.0'?>",
    "<ul>" + "<li>x" * 30_000, "<div>" * 5_000 + "x", "<a href=x>" * 3_000, "<table>" + "<tr><td>1<td>2" * 5_000,
    "<p>" + "x" * 4_000_000], ids=lambda html: f"{html[:20]!r} {len(html)}")
def test_empty_deep_wide_and_long_pages_are_answered(html: str) -> None:
    check(suggest(page(html)))
