"""Tests of HTML fields, and of differences of long texts, in digests."""

from __future__ import annotations

import email
import re
from email.message import EmailMessage
from email.policy import default

import lxml.html
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.display.field_diff import Place, Span, places
from pipeline.display.sanitize import plain, sanitised
from pipeline.mail.digests.build import build
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW

BODY = ('<article><h2>Tide tables</h2><p>High water at <b>10:<i>42</i></b>, see <a href="/tides?d=1" onclick="x()">all</a>.</p>'
        '<ul><li>Spring &amp; neap</li><li>Range 3&nbsp;m</li></ul><table><tr><th>Port</th><td>Dover</td></tr></table></article>')
HOSTILE = ('<script>alert(1)</script><style>*{display:none}</style><img src="http://evil.test/p.png" onerror="x()">'
           '<a href="javascript:x()">js</a><a href="https://bank.test@evil.test/">bank</a><iframe src="//evil.test"></iframe>'
           '<form action="http://evil.test"><input name="a"><button>go</button></form><svg onload="x()"><p>in</p></svg>'
           '<p style="position:fixed;background:url(http://evil.test/b)" id="top" class="card">styled \u202eevil</p>'
           '<base href="http://evil.test/"><meta http-equiv="refresh" content="0;url=http://evil.test">'
           '<link rel="stylesheet" href="http://evil.test/c.css"></div></body></html>{{ 7 * 7 }}<!-- [if mso]> x <![endif] -->')
ALLOWED = {"a", "b", "blockquote", "br", "caption", "code", "dd", "div", "dl", "dt", "em", "i", "li", "ol", "p", "pre", "s", "small",
           "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"}


@pytest.fixture
def settings(settings_from):
    return settings_from(digest='attach = ["csv"]\n[spiders.books.items.fields]\ntitle = "h1"\nbody = { css = "article", type = "html" }\n')


@pytest.fixture
def mail_of(store, settings):
    def built(slot: str = "s1") -> EmailMessage:
        claim = digests.claim(store, "morning", ["books"], slot, owner="me", now=NOW)
        assert claim is not None
        message_id, = build(store, settings, claim, owner="me", now=NOW).message_ids
        message = stored.get(store, message_id)
        assert message is not None
        return email.message_from_bytes(store.files.path(message[0].file_key).read_bytes(), policy=default)

    return built


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")


def test_an_html_field_is_shown_as_html_and_as_plain_text(site, mail_of) -> None:
    site.run({"1": {"title": "Tides", "url": "https://tides.test/today/", "body": BODY}})
    mail = mail_of()
    html = re.sub(r' (style|rel)="[^"]*"', "", text_of(mail, "html"))
    assert ('<p><b>Tide tables</b></p><p>High water at <b>10:<i>42</i></b>, see <a href="https://tides.test/tides?d=1">all</a>.</p>'
            "<ul><li>Spring &amp; neap</li>") in html
    assert "<td>Dover</td>" in html
    assert ("  body: \n    Tide tables\n    High water at 10:42, see all.\n    Spring & neap\n    Range 3 m\n    Port · Dover\n"
            in text_of(mail))
    attached = next(mail.iter_attachments()).get_content()
    assert BODY.replace('"', '""') in attached  # the table has the field as it is


def test_hostile_html_keeps_its_text_only(site, mail_of) -> None:
    site.run({"1": {"title": "Evil", "url": "https://good.test/", "body": HOSTILE}})
    mail = mail_of()
    html = text_of(mail, "html")
    assert "evil.test" not in html.partition("<body")[2].replace("https://bank.test@evil.test", "")
    assert set(re.findall(r'(?:href|src|action)="([^"]*)"', html)) == {"https://good.test/"}
    assert not re.search(r"<(script|style|img|iframe|form|input|button|svg|base|meta|link)\b|on\w+=|fixed", html.partition("<body")[2])
    assert "{{ 7 * 7 }}" in html
    assert "\u202e" not in html
    assert html.count("</body>") == 1
    assert "  body: \n    jsbankgo\n    in\n    styled evil\n    {{ 7 * 7 }}\n" in text_of(mail)


def test_a_change_of_html_is_shown_by_its_text_and_a_change_of_markup_is_named(site, mail_of) -> None:
    site.run({"1": {"title": "Tides", "body": BODY}, "2": {"title": "Same", "body": "<p>one <b>two</b></p>"}})
    mail_of()
    site.run({"1": {"title": "Tides", "body": BODY.replace("42", "57")}, "2": {"title": "Same", "body": "<p>one <i>two</i></p>"}})
    text = text_of(mail_of("s2"))
    assert "[-42-]{+57+}" in text
    assert "Spring" not in text
    assert "body: changed, but not in the visible text" in text


def test_a_title_of_html_is_its_text(site, mail_of) -> None:
    site.run({"1": {"body": "<p>Only <em>this</em></p>"}})
    assert mail_of()["Subject"] == "New: Only this"


@given(st.text() | st.lists(st.sampled_from([
    "<b>", "</b>", "<table>", "<tr>", "<td>", "</table>", "<svg>", "<math>", "<style>", "</style>", "<!--", "-->", "<a href='", "'>",
    "<img src=x onerror=y>", "<select>", "<template>", "<p", ">", "&lt;script&gt;", "&#x202e;", "\u200b", "<script>", "<noscript>",
    "<textarea>", "</title>", "text ", "<h1>", "<x-y>", "<![CDATA[", "]]>", "<mglyph>", "<annotation-xml encoding='text/html'>"]),
    max_size=30).map("".join), st.integers(1, 40))
@example(source="<A/TITLE>", limit=1)
def test_only_harmless_elements_remain_of_any_html(source, limit) -> None:
    out = str(sanitised(source, base="https://site.test/", limit=limit))
    document = lxml.html.document_fromstring(f"<div>{out}</div>")
    elements = [element for element in document.iter() if element.tag not in ("html", "body")]
    assert {element.tag for element in elements} <= ALLOWED
    assert all(set(element.keys()) <= {"href"} and element.get("href", "http").startswith("http") for element in elements)
    assert not set("\u202e\u200b\x00").intersection(out)
    assert len("".join(document.itertext())) <= limit + 2
    assert "<" not in plain(source) or "<" in lxml.html.fromstring(f"<div>{sanitised(source)}</div>").text_content()


@pytest.mark.parametrize(("source", "shown"), [
    ('<p>Map: <img src="/m.png" alt="the <b>harbour</b> &quot;North&quot;"></p>', "<p>Map: [the &lt;b&gt;harbour&lt;/b&gt; &quot;North&quot;]</p>"),
    ('<img src="/m.png" title="x">text<img alt=" ">', "text"), ('<IMG ALT="a &lt;script&gt; > b">', "[a &lt;script&gt; &gt; b]"),
])
def test_a_picture_is_replaced_by_its_alternative_text(source, shown) -> None:
    assert str(sanitised(source)) == shown
    assert "<" not in plain(source).replace("<b>", "").replace("</b>", "").replace("<script>", "")


def test_a_wide_table_scrolls_and_keeps_its_words_whole_without_widening_the_mail(site, mail_of) -> None:
    row = "<tr><td>Harbour Board</td><td>190.5 m</td><td>Draught 9 m</td><td>" + "x" * 60 + "</td></tr>"
    site.run({"1": {"title": "Ships", "body": f"<table>{row * 3}</table>"}, "2": {"title": "None", "body": "<p>no table</p>"}})
    html = text_of(mail_of(), "html")
    around, = re.findall(r'<table[^>]*class="wide"[^>]*>', html)
    assert "table-layout: fixed" in around
    assert re.search(r'class="wide".*?<div class="rich"[^>]*overflow: auto[^>]*><table style="overflow-wrap: normal;word-break: normal;">', html, re.DOTALL)


def test_a_megabyte_of_nested_elements_costs_little() -> None:
    out = sanitised("<b><i><u>" * 120_000 + "deep")
    assert len(out) < 12_000
    assert plain("<p>x</p>" * 150_000).count("x") < 10_000


LINES = [f"Clause {number}: the tenant pays the rent on day {number} of the month." for number in range(60)]


def test_a_watched_page_shows_each_changed_place_word_by_word(site, store, settings, mail_of) -> None:
    url = "https://terms.test/"
    site.run({url: {"url": url, "name": "Terms", "text": "\n".join(LINES)}})
    mail_of()
    edited = [line.replace("rent", "rent and costs") if number == 5 else line for number, line in enumerate(LINES) if number != 30]
    edited[40:40] = ["A new clause about pets."]
    site.run({url: {"url": url, "name": "Terms", "text": "\n".join(edited)}})
    mail = mail_of("s2")
    assert mail["Subject"] == "Terms: added “and costs”, and 2 more"
    assert ("  text: \n"
            "    Clause 5: the tenant pays the rent {+and costs +}on day 5 of the month.\n"
            f"    [-{LINES[30]}-]\n"
            "    {+A new clause about pets.+}\n") in text_of(mail)
    html = re.sub(r' style="[^"]*"', "", text_of(mail, "html"))
    assert '<div class="place"><bdi>Clause 5: the tenant pays the rent <ins>and costs </ins>on day 5' in html
    assert f"<del>{LINES[30]}</del>" in html
    assert "<ins>A new clause about pets.</ins>" in html
    assert "Clause 50" not in html


def test_very_many_places_are_cut_and_counted(site, mail_of) -> None:
    site.run({"1": {"name": "List", "text": "\n".join(LINES)}})
    mail_of()
    site.run({"1": {"name": "List", "text": "\n".join(line.replace("rent", "fee") for line in LINES)}})
    text = text_of(mail_of("s2"))
    assert text.count("[-rent-]{+fee+}") == 12
    assert "… and 48 more" in text


@given(st.lists(st.sampled_from("abcdef"), max_size=12), st.lists(st.sampled_from("abcdef"), max_size=12))
def test_the_places_of_two_texts_cover_every_line_that_differs(old, new) -> None:
    found, _ = places("\n".join(["same", *old, "end"]), "\n".join(["same", *new, "end"]))
    assert (found == []) == (old == new)
    gone = [span.text for place in found for span in place.spans if span.kind == "old"]
    came = [span.text for place in found for span in place.spans if span.kind == "new"]
    left, right = list(old), list(new)
    for line in gone:
        left.remove(line)
    for line in came:
        right.remove(line)
    assert sorted(left) == sorted(right)


def test_texts_that_differ_in_blanks_only_differ_nowhere() -> None:
    assert places("a  b\nc", "a b \n\n c") == ([], 0)
    assert places("", "") == ([], 0)
    assert places("one", "two") == ([Place([Span("old", "one"), Span("new", "two")])], 0)
    assert places("one\ntwo\nthree", "1\n2\n3", most=2) == (
        [Place([Span("old", "one"), Span("new", "1")]), Place([Span("old", "two"), Span("new", "2")])], 1)


def shown(before: str, after: str) -> list[str]:
    signs = {"same": "{}", "old": "[-{}-]", "new": "{{+{}+}}"}
    found, left = places(before, after)
    assert left == 0
    return ["".join(signs[span.kind].format(span.text) for span in place.spans) for place in found]


FOX = "The quick brown fox jumps over the lazy dog. "


@pytest.mark.parametrize(("before", "after", "expected"), [
    # a long text in one line: every place, not only the first
    (FOX * 12, FOX.replace("quick", "fast") + FOX * 5 + FOX.replace("lazy", "sleepy") + FOX * 5,
     ["The [-quick-]{+fast+} brown fox jumps over the lazy dog.", "The quick brown fox jumps over the [-lazy-]{+sleepy+} dog."]),
    (", ".join(f"size {n}" for n in range(100)), ", ".join("none" if n in (5, 80) else f"size {n}" for n in range(100)),
     ["[-size 5,-]{+none,+}", "[-size 80,-]{+none,+}"]),
    (" ".join(f"word{n}" for n in range(300)), " ".join("x" if n in (5, 250) else f"word{n}" for n in range(300)),
     ["[-word5-]{+x+}", "[-word250-]{+x+}"]),
    ("这是一句很长的话。" * 40 + "价格是一百元。" + "这是一句很长的话。" * 40, "这是一句很长的话。" * 40 + "价格是二百元。" + "这是一句很长的话。" * 40,
     ["[-价格是一百元。-]{+价格是二百元。+}"]),
    # texts without blanks between words
    ("售价为一百二十元整，含税，包邮到家。", "售价为一百三十元整，含税，包邮到家。", ["售价为一百[-二-]{+三+}十元整，含税，包邮到家。"]),
    # a decimal number is one token, and so is a letter with its marks
    ("the price is 12.50 today, and it was not", "the price is 12.75 today, and it was not", ["the price is [-12.50-]{+12.75+} today, and it was not"]),
    ("السعر اليوم هو ٣٢٫٠٠ ر.س مع الشحن", "السعر اليوم هو ٢٩٫٥٠ ر.س مع الشحن", ["السعر اليوم هو [-٣٢٫٠٠-]{+٢٩٫٥٠+} ر.س مع الشحن"]),
    ("the nai\u0308ve approach is the long way round", "the näive approach is the long way round", ["the [-nai\u0308ve-]{+näive+} approach is the long way round"]),
    # a line is compared with the line that says nearly the same, not with the one that was removed before it
    (f"Ships\nOpen from Monday to Friday at noon.\n{FOX}\nEnd", f"Ships\n{FOX.replace('lazy', 'sleepy')}\nEnd",
     ["[-Open from Monday to Friday at noon.-]", "The quick brown fox jumps over the [-lazy-]{+sleepy+} dog."]),
    (f"Ships\n{FOX}\nEnd", f"Ships\nOpen from Monday to Friday at noon.\nAlso on Sunday.\n{FOX.replace('lazy', 'sleepy')}\nEnd",
     ["{+Open from Monday to Friday at noon.+}", "{+Also on Sunday.+}", "The quick brown fox jumps over the [-lazy-]{+sleepy+} dog."]),
    # a shortened text begins with a whole word
    (FOX.replace(".", ",") * 4 + "red", FOX.replace(".", ",") * 4 + "blue", ["…brown fox jumps over the lazy dog, [-red-]{+blue+}"]),
    # marks that would cover the lines around them
    ("e" + "\u0301" * 40 + " one", "e one", ["[-e" + "\u0301" * 4 + " one-]{+e one+}"]),
])
def test_every_place_of_a_change_is_shown_with_whole_words(before, after, expected) -> None:
    assert shown(before, after) == expected


def test_no_blank_is_put_between_two_characters_of_a_script_without_blanks() -> None:
    (place,), _ = places("售价为一百二十元整，含税，包邮到家。", "售价为一百三十元整，含税，包邮到家。")
    assert not any(apart for _, apart in place.parted)


def test_a_change_of_a_long_hostile_text_is_compared_in_bounded_time() -> None:
    for text in ("a " * 100_000, "a, " * 60_000, "a. " * 60_000, "字" * 100_000, "e\u0301" * 90_000):
        found, _ = places(text, text[:1000] + "b " + text[1000:])
        assert found
