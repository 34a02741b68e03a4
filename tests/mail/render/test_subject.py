"""Tests of the subject, the heading and the hidden preheader of a digest."""

from __future__ import annotations

import email
import re
from email.policy import default
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Outcome, Reject
from pipeline.store.mail import outbox
from pipeline.text import clean_line, clean_subject, isolated
from tests.mail.conftest import built, text_of

CLOCK = {"title": "Walnut clock Zürich", "price": "£31.82", "stock": 5, "url": "https://shop.test/1"}
LAMP = {"title": "Lamp", "price": "£5", "stock": 1}
PAGE = {"url": "https://terms.test/", "name": "Terms", "text": "Orders are shipped within two days.\nNo returns."}
CLOCK_AR = {"title": "ساعة خشبية", "price": "£31.82"}
MANY = {str(n): {"title": f"Book {n}"} for n in range(1200)}

Items = dict[str, dict[str, Any]]


def one(item: dict[str, Any]) -> Items:
    return {"1": item}


CASES: dict[str, tuple[Items, Items, str, str, str]] = {
    # before, after, settings of the digest, subject, preheader
    "a price": (one(CLOCK), one(CLOCK | {"price": "£32.32"}), "", "Walnut clock Zürich: £31.82 → £32.32", "▲ +£0.50 (+1.6%)"),
    "a text": (one(LAMP | {"state": "In stock"}), one(LAMP | {"state": "Sold out"}), "", "Lamp: In stock → Sold out", "books · Sun 22 Nov 2026"),
    "yes and no": (one(LAMP | {"open": True}), one(LAMP | {"open": False}), "", "Lamp: open yes → no", "books · Sun 22 Nov 2026"),
    "many places": (one(PAGE | {"text": "\n".join(f"Line {n} of the terms" for n in range(40))}), one(PAGE | {"text": "\n".join(f"Line {n} of these terms" for n in range(40))}),
                    'language = "de"', "Terms: Line 0 of the terms → Line 0 of these terms und 39 weitere Stellen", "books · So., 22. Nov. 2026"),
    "a price and a figure": (one(CLOCK), one(CLOCK | {"price": "£32.32", "stock": 4}), "", "Walnut clock Zürich: £31.82 → £32.32", "▲ +£0.50 (+1.6%) · stock 5 → 4"),
    "a figure": (one(CLOCK), one(CLOCK | {"stock": 0}), "", "Walnut clock Zürich: stock 5 → 0", "▼ −5 (−100%)"),
    "a title": (one(LAMP), one(LAMP | {"title": "Desk lamp"}), "", "Lamp → Desk lamp", "books · Sun 22 Nov 2026"),
    "a value that is gone": ({"1": LAMP | {"was": "£9"}, "2": CLOCK | {"was": "£40"}}, {"1": LAMP, "2": CLOCK | {"was": "£40"}}, "", "Lamp: was £9 → —", "books · Sun 22 Nov 2026"),
    "a line of a watched page": (one(PAGE), one(PAGE | {"text": PAGE["text"] + "\nShipping is free."}), "", "Terms: added “Shipping is free.”", "books · Sun 22 Nov 2026"),
    "words of a watched page": (one(PAGE), one(PAGE | {"text": PAGE["text"].replace("two days", "three weeks")}), "", "Terms: two days → three weeks", "books · Sun 22 Nov 2026"),
    "a line that is gone": (one(PAGE), one(PAGE | {"text": "No returns."}), "", "Terms: removed “Orders are shipped within two days.”", "books · Sun 22 Nov 2026"),
    "a new item": ({}, one(CLOCK), "", "New: Walnut clock Zürich — £31.82", "stock: 5"),
    "a new item whose price is hidden": ({}, one(CLOCK), 'hide = ["price"]', "New: Walnut clock Zürich", "stock: 5"),
    "a new item without a price": ({}, one({"title": "Headline", "by": "Ann"}), "", "New: Headline", "by: Ann"),
    "a new item in Chinese": ({}, one({"title": "三体", "价格": "¥93.00"}), 'language = "zh"', "新增：三体，¥93.00", "books"),
    "a gone item": (one(CLOCK) | {"2": LAMP}, {"2": LAMP}, "", "Gone: Walnut clock Zürich", ""),
    "two changes": (one(CLOCK) | {"2": LAMP}, one(CLOCK | {"price": "£30"}) | {"2": LAMP | {"price": "£4"}}, "",
                    "Walnut clock Zürich: £31.82 → £30; Lamp: £5 → £4", "2 changed · books"),
    "a new, a changed and a gone item": ({"1": CLOCK, "2": LAMP}, {"2": LAMP | {"price": "£4"}, "3": {"title": "Vase"}}, "",
                                         "New: Vase; Lamp: £5 → £4; Gone: Walnut clock Zürich", "1 new, 1 changed, 1 gone · books"),
    "three long changes": ({str(n): {"title": f"A rather long title of an item, number {n}", "by": "somebody or other"} for n in range(3)},
                           {str(n): {"title": f"A rather long title of an item, number {n}", "by": "another person"} for n in range(3)}, "",
                           "Changed: A rather long title of an item, number 0 · A rather long title of an item, number 1 · A rather long title of an item, number 2",
                           "A rather long title of an item, number 0: somebody or other → another person"),
    "many in Chinese": ({}, MANY, 'language = "zh"', "新增 1200 项：Book 0、Book 1、Book 2等", "新增：Book 0"),
    "one in German": (one(LAMP), one(LAMP | {"stock": 3}), 'language = "de"', "Lamp: stock 1 → 3", "▲ +2 (+200 %)"),
    "a word of a script without blanks": (one({"title": "活着", "备注": "人民文学出版社，平装，满99元包邮。"}), one({"title": "活着", "备注": "人民文学出版社，精装，满99元包邮。"}),
                                          'language = "zh"', "活着：平装 → 精装", "books · 2026-11-22"),
    "many": ({}, MANY, "", "1,200 new: Book 0, Book 1, Book 2, …", "New: Book 0"),
    "a title from right to left": (one(CLOCK_AR), one(CLOCK_AR | {"price": "£30"}), "", "\u2068ساعة خشبية\u2069: £31.82 → £30", "▼ −£1.82 (−5.7%)"),
    "a name where it is wanted": ({}, one(LAMP), 'subject = "[{name}] {summary} ({date})"', "[morning] New: Lamp — £5 (2026-11-22)", "stock: 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_subject_says_what_is_new_and_the_preheader_says_more(case, store, site, settings_from) -> None:
    before, after, digest, subject, more = CASES[case]
    settings = settings_from(digest=digest)
    if before:
        site.run(before)
        built(store, settings)
    site.run(after)
    mail = latest(store, built(store, settings, slot="s2").message_ids[0])
    assert mail["Subject"] == subject
    hidden, heading = hidden_text(mail), re.search(r"<h1[^>]*>(.*?)</h1>", text_of(mail, "html"))
    assert more in hidden
    assert "\u034f" not in text_of(mail)
    assert hidden != subject
    assert heading is not None
    assert heading[1] == "Morning"


def test_the_subject_names_the_problems_after_the_changes(store, site, settings_from) -> None:
    settings = settings_from(spiders=("books", "news", "shop", "films", "songs"))
    site.run(None, outcome=Outcome.FAILED, error="no answer from 192.0.2.1")
    mail = latest(store, built(store, settings, slot="s1").message_ids[0])
    assert (mail["Subject"], hidden_text(mail)) == ("books failed", "failed — no answer from 192.0.2.1")
    site.run(one(LAMP), spider="news", rejects=[Reject("no price", {}, key="9")], files=[("a.pdf", b"%PDF-", "application/pdf")])
    for spider in ("books", "shop", "films", "songs"):
        site.run(None, spider=spider, outcome=Outcome.FAILED, error="no answer")
    mail = latest(store, built(store, settings, slot="s2").message_ids[0])
    assert mail["Subject"] == "New: Lamp — £5; 1 downloaded; 1 item rejected; books, shop, films and 1 more failed"


def test_a_few_downloads_alone_are_named(store, site, settings_from) -> None:
    settings = settings_from()
    site.run({}, files=[("price list.pdf", b"%PDF-", "application/pdf"), ("b\r\nTo: x.pdf", b"%PDF-", "application/pdf")])
    assert latest(store, built(store, settings).message_ids[0])["Subject"] == "Downloaded: price list.pdf, b To: x.pdf"
    site.run({}, files=[(f"{n}.pdf", b"%PDF-", "application/pdf") for n in range(4)])
    assert latest(store, built(store, settings, slot="s2").message_ids[0])["Subject"] == "4 downloaded: 0.pdf, 1.pdf, 2.pdf, …"


def test_a_template_of_the_subject_is_filled_in_once(store, site, settings_from) -> None:
    site.run(one({"title": "{name} {date}"}))
    settings = settings_from(digest='subject = "{summary} {name}"')
    assert latest(store, built(store, settings).message_ids[0])["Subject"] == "New: {name} {date} morning"


@given(st.text(st.sampled_from("ab é\u0301\u200d👩🏽🇩🇪שלעم\u2067\u2068\u2069\u202e\n\x00"), max_size=60), st.integers(8, 40))
def test_a_subject_is_balanced_clean_and_never_cut_through_a_grapheme(text: str, limit: int) -> None:
    subject = clean_subject(isolated(clean_line(text)), limit)
    assert len(subject) <= limit
    assert re.fullmatch("([^\u2068\u2069]*\u2068[^\u2068\u2069]*\u2069)*[^\u2068\u2069]*", subject)
    assert not re.search("[\n\x00\u2067\u202e]", subject)
    shown, whole = re.sub("[\u2068\u2069]", "", subject), clean_subject(isolated(clean_line(text)), 1000)
    kept = shown.removesuffix("…")
    bare = re.sub("[\u2068\u2069]", "", whole)
    assert bare.startswith(kept)
    assert len(kept) in {0, len(bare), *(found.end() for found in regex.finditer(r"\X", bare))} or bare[len(kept):].startswith(" ")


def latest(store, message_id: int) -> email.message.EmailMessage:
    message, _, _ = outbox.get(store, message_id)
    return email.message_from_bytes(store.files.path(message.file_key).read_bytes(), policy=default)


def hidden_text(mail: email.message.EmailMessage) -> str:
    found = re.search(r'<div style="display: ?none[^"]*">([^\u034f]*)', text_of(mail, "html"))
    assert found is not None
    return found[1]
