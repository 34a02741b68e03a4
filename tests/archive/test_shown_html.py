"""Tests of the HTML with which archived pages are shown: nothing in it runs, loads or sends.

Whatever the page is, no tag of it remains that could.
"""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.reading.shown_html import MAX_CHARACTERS, shown_html, text_of, visible_text

TAG = re.compile(r"""</?[a-z][^\s<>"']*(?: [^\s=<>"']+="[^"<]*")*/?>""")
# "<script-->" is an element of the name "script--", which does nothing.
DANGEROUS = re.compile(r"""<(?:script|link|meta|base|iframe|frame|object|embed|video|audio|source|plaintext|xmp|noembed)(?=[\s/>])|<[^>]* (?:on\w+|srcset|action|formaction|ping|poster|srcdoc)=|"""
                       r"""<[^>]* (?:href|src|xlink:href)="(?!#|data:image/)""", re.IGNORECASE)
PARTS = st.lists(st.sampled_from(["<", ">", "/", "<!--", "-->", "--!>", "<![CDATA[", "]]>", "<?x", '"', "'", "=", " ", "\n", "\t", "\0", "&lt;", "script", "<script", "</script>", "<style>", "</style>", "<img src=//e>",
                                  "<svg/onload=x>", " onload=x", "<a href='//e'", " srcset=//e", "<iframe srcdoc='<b>'", "<textarea>", "</textarea>", "<title>", "<noscript>", "<math>", "<mglyph>", "<template>", "<p title=\"", "é", "x"]), max_size=40)


@given(PARTS.map("".join))
def test_whatever_the_page_is_only_harmless_tags_that_were_written_here_remain(page: str) -> None:
    shown = shown_html(page).html.removeprefix("<!doctype html>")
    outside_styles = re.sub(r"(<style[^<>]*>)[^<]*", r"\1", shown)
    assert "<" not in TAG.sub("", outside_styles)
    assert DANGEROUS.search(shown) is None


def test_what_remains_looks_as_before_and_what_does_not_is_counted() -> None:
    shown = shown_html("<!DOCTYPE html><link rel='stylesheet' href=a.css><link rel=icon href=i><STYLE>p>b{color:red}</STYLE><script>1<2</script><script type='application/ld+json'>{}</script>"
                       "<p Class='a \"b\"' style=\"color:red\">1 < 2 &amp; 3 <a HREF=/x>link</a> <a href=#top>top</a> <img src=/i.png alt=Logo> <img src='data:image/png;base64,AA=='><svg><path d='M0 0'/></svg>")
    assert shown.html == ('<!doctype html><style>p>b{color:red}</style><p class="a &quot;b&quot;" style="color:red">1 &lt; 2 &amp; 3 <a title="/x">link</a> <a href="#top">top</a> <img alt="Logo"> '
                          '<img src="data:image/png;base64,AA=="><svg><path d="M0 0"/></svg>')
    assert shown.left_out == {"styles": 1, "scripts": 1, "pictures": 1}
    assert not shown.is_cut
    assert shown_html("x" * (MAX_CHARACTERS + 1)).is_cut


@pytest.mark.parametrize("part", ["<div>", "<a ", '<a "', "<", "<!--", "<style>", "<a b=", "</", "<a" + " " * 1000, "<b " + "c " * 100])
def test_a_page_that_is_made_to_be_slow_is_not(part: str) -> None:
    page = part * (MAX_CHARACTERS // 4 // len(part))
    began = time.process_time()
    shown_html(page)
    visible_text(page)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("body", "content_type", "text"), [
    ("größe €".encode("cp1252"), "text/html; charset=iso-8859-1", "größe €"), ("größe".encode(), "text/html", "größe"), ("größe".encode("cp1252"), "", "größe"),
    ('<meta charset="gbk">中'.encode("gbk"), "text/html", '<meta charset="gbk">中'), ("中".encode("gb18030"), 'text/html; charset="GB2312"', "中"), ("\ufeffa".encode("utf-16-le"), "text/html", "a"),
    (b"<meta charset=utf-16>a", "", "<meta charset=utf-16>a"), (b"<meta charset=zip>a\xe9", "text/html; charset=rot13", "<meta charset=zip>aé"), (b"\x8d", "", "\ufffd")])
def test_a_body_is_decoded_as_browsers_do(body: bytes, content_type: str, text: str) -> None:
    assert text_of(body, content_type) == text


def test_the_text_of_a_page_has_no_scripts_and_a_line_for_each_block() -> None:
    assert visible_text("<title>t</title><style>p{}</style><h1>A <b>bold</b>\n word</h1><ul><li>1 &lt; 2<li>x</ul><script>no()</script><!-- no -->end") == "A bold word\n1 < 2\nx\nend"
