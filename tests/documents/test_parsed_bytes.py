"""The tree of a page is built from its bytes only when that gives the tree of its text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import Document
from pipeline.session.responses.encodings import decoded

LARGE = b"<p>" + b"x" * 1_000_000
BODIES = {
    "ASCII": b"<base href=/b/><p id=a>one<a href=two>two</a>",
    "ASCII with NUL, CR and a form feed": b"<p>\0one\r\ntwo\rthree\f<a href='\0'>four",
    "UTF-8": "<p>caf\u00e9 \u4e16\u754c \U0001f600".encode(),
    "a byte order mark": "\ufeff<p>caf\u00e9".encode(),
    "two byte order marks": "\ufeff\ufeff<p>one".encode(),
    "a wrong byte": b"<p>caf\xe9 one",
    "a character cut at the end": "<p>caf\u00e9".encode()[:-1],
    "half of a surrogate pair": b"<p>\xed\xa0\x80 one",
    "a longer form than needed": b"<p>\xc0\xaf one",
    "a control character of Latin-1": b"<p>\xc2\x80 one",
    "nothing": b"",
    "blanks": b" \n",
}


def both(body: bytes, encoding: str) -> tuple[Document, Document]:
    """The document with its bytes, and the document of the text alone."""
    text = decoded(body, encoding)
    page = {"url": "http://site.example/page", "status": 200, "headers": dict, "encoding": encoding}
    return Document(text=lambda: text, body=body, **page), Document(text=text, **page)  # type: ignore[arg-type]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "cp1251", "gb18030", "iso2022_jp", "utf-16-le"])
@pytest.mark.parametrize("name", BODIES)
def test_the_tree_of_the_bytes_equals_the_tree_of_the_text(name: str, encoding: str, large: bool) -> None:
    from_bytes, from_text = both(BODIES[name] + (LARGE if large else b""), encoding)
    assert from_bytes.lexbor.html == from_text.lexbor.html
    assert (from_bytes.base, from_bytes.text) == (from_text.base, from_text.text)


@settings(max_examples=50, deadline=None)
@given(st.text() | st.binary(), st.integers(0, 70_000), st.sampled_from(["utf-8", "cp1252"]))
def test_they_are_equal_wherever_a_character_is_in_a_large_page(what: str | bytes, at: int, encoding: str) -> None:
    inserted = what.encode("utf-8", "surrogatepass") if isinstance(what, str) else what
    from_bytes, from_text = both(LARGE[:at] + inserted + LARGE[at:], encoding)
    assert from_bytes.lexbor.html == from_text.lexbor.html


@pytest.mark.parametrize(("body", "decodes"), [
    (b"<a href=b>c</a>", False), ("<a href=b>\u00e9</a>".encode(), True), ("<a href=b>\u00e9</a>".encode() + LARGE, False),
    (b"\xe9<a>" + LARGE, True)])
def test_the_links_of_an_ascii_page_and_of_a_large_one_are_read_without_decoding(body: bytes, decodes: bool) -> None:
    asked: list[str] = []

    def text() -> str:
        asked.append("text")
        return decoded(body, "utf-8")

    document = Document(url="http://site.example/", status=200, text=text, headers=dict, body=body)
    assert document.lexbor.css("a")
    assert document.absolute("/d") == "http://site.example/d"
    assert bool(asked) is decodes
