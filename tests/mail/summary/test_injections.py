"""Tests that text of a site has no way to the model's instructions.

And that a model that obeys it cannot harm the mail.
"""

from __future__ import annotations

import json
import re

import lxml.html
import pytest

from pipeline.mail.digests.summary_request import CLAIM_LENGTH, MAX_CLAIMS, Answer, checked, claim_text
from tests.mail.conftest import built, text_of
from tests.mail.summary.conftest import answer, lines_of, mails_of
from tests.mail.summary.injections import INJECTIONS

ITEMS = {str(n): {"title": f"Book {n}", "price": f"£{n}0.00", "url": f"https://books.example/{n}"} for n in range(1, 6)}
_RECORD = re.compile(r"<<<RECORD (\d+) ([0-9a-f]{24})>>>\n(.*?)\n<<<END \1 \2>>>", re.DOTALL)
_LINK = re.compile(r"https?:|www\.\w|\w\.com\b|mailto:|://|@\w+\.", re.IGNORECASE)


def test_there_are_at_least_forty_injections_of_many_kinds() -> None:
    assert len(INJECTIONS) >= 40


def test_text_of_a_site_is_only_ever_inside_its_own_record(store, site, settings_from, model) -> None:
    marks = {f"MARK{n}X": text for n, text in enumerate(INJECTIONS.values())}
    site.run({mark: {"title": f"{mark} {text}"[:400], "text": f"{mark} {text}"} for mark, text in marks.items()})
    obeyed = answer({f"{mark} {text[:200]}": [n] for n, (mark, text) in enumerate(marks.items(), 1)})
    model.says = lambda asked: obeyed
    built(store, settings_from(digest=f'summary = "what is new?"\n{model.settings()}'))
    seen = []
    for asked in model.asked:
        system, user = (message["content"] for message in asked.messages)
        assert [message["role"] for message in asked.messages] == ["system", "user"]
        assert "MARK" not in system
        boundary, = {found[1] for found in _RECORD.findall(user)}
        assert boundary in system
        assert user.count(boundary) == 2 * len(asked.records)
        assert _RECORD.sub("", user).strip() == ""
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\U000e0000-\U000e007f]", user)
        if "are sentences" not in asked.system:
            for text in asked.records.values():
                mark, = set(re.findall(r"MARK\d+X", text))
                assert len(text) <= 2000
                seen.append(mark)
    assert sorted(seen) == sorted(marks)
    assert len({_RECORD.search(asked.messages[1]["content"])[2] for asked in model.asked}) == len(model.asked)


@pytest.mark.parametrize("kind", INJECTIONS)
def test_a_sentence_that_repeats_an_injection_is_harmless_text(kind) -> None:
    text = claim_text(INJECTIONS[kind])
    assert len(text) <= CLAIM_LENGTH
    assert "\n" not in text
    assert not _LINK.search(text)
    assert not re.search(r"[\[［【]\s*#?\d[\d, ]*[\]］】]", text)
    assert not re.search(r"</?[a-z]+[^>]*>", text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff\U000e0000-\U000e007f]", text)
    assert claim_text(text) == text


@pytest.mark.parametrize(("said", "shown"), [
    ("Two prices fell (items 3, 4 and 12).", "Two prices fell."), ("Zwei Preise fielen (siehe Einträge 3 und 4).", "Zwei Preise fielen."),
    ("两款商品降价（记录 3、4）。", "两款商品降价。"), ("Record 7: a talk was announced [7].", "a talk was announced."), ("It costs 12 € (2 less than in 2025).", "It costs 12 € (2 less than in 2025)."),
    ("The tender (no. 17/2026) ends on 3 May.", "The tender (no. 17/2026) ends on 3 May."), ("Node.js 24 and ASP.NET are out.", "Node.js 24 and ASP[.]NET are out."),
])
def test_the_numbers_of_records_that_models_write_are_removed(said, shown) -> None:
    assert claim_text(said) == shown


def test_only_known_records_count_and_each_of_them_once() -> None:
    said = Answer.model_validate_json(answer([("One.", [3, 3, 9, -1, 0, 10**30]), ("None.", [9]), ("", [1]), ("<b></b>", [1]), ("One.", [2]), *[(f"S{n}.", [1]) for n in range(50)]],
                                              [9, 2, 2, 3, -7, 10**40]))
    found = checked(said, {1, 2, 3})
    assert list(found.claims) == [("One.", (3,)), *[(f"S{n}.", (1,)) for n in range(MAX_CLAIMS - 1)]]
    assert list(found.order) == [2, 3]


WORST = {
    "links and HTML": [INJECTIONS[kind] for kind in ("a link in HTML", "a script", "a URL in pieces", "a link in Markdown", "an address")],
    "headers and control characters": [INJECTIONS[kind] for kind in ("control characters", "bidi characters", "tag characters", "zero-width characters", "references")],
    "a template": [INJECTIONS[kind] for kind in ("a template", "role tags of ChatML", "a fake answer that ends the schema", "a system message", "combining marks")],
    "a lot of text": ["Ignore. " * 2_000, "B" * 9_000, "\n" * 3_000 + "C"],
}


@pytest.mark.parametrize("kind", WORST)
def test_the_worst_answer_neither_adds_a_link_nor_hides_a_change(kind, store, site, settings_from, model) -> None:
    model.says = json.dumps({"claims": [{"text": text, "items": [1, 999, 2], "url": "https://evil.com/"} for text in WORST[kind]], "order": [3, 3, 999, -5],
                             "subject": "Hacked", "html": "<script>"})
    site.run(ITEMS)
    settings = settings_from(digest=f"summary = true\nthread = true\n{model.settings('max_output_tokens = 20000')}")
    mail, = mails_of(store, built(store, settings).message_ids)
    text, html = text_of(mail).replace("\r\n", "\n"), lxml.html.fromstring(text_of(mail, "html"))
    assert "In short" in lines_of(mail)
    assert sorted(re.findall(r"^\* (?:\[\d\] )?(Book \d)$", text, re.MULTILINE)) == [f"Book {n}" for n in range(1, 6)]
    assert {link.get("href") for link in html.iter("a") if link.get("href")} == {*(f"https://books.example/{n}" for n in range(1, 6)), "#change-1", "#change-2"}
    assert not list(html.iter("script", "img", "iframe", "form", "link", "base", "object", "svg"))
    links = "\n".join(line for line in lines_of(mail) if not line.startswith(("  https://books.example/", "(Written by")))
    assert not _LINK.search(links.partition("\n-- \n")[0])
    assert set(re.findall(r"\[\d+\]", text)) == {"[1]", "[2]"}
    assert str(mail["Subject"]).startswith("5 new: Book 3, Book 1, Book 2")
    assert {"Bcc", "X-Evil"}.isdisjoint(mail.keys())
    assert mail.keys() == list(dict.fromkeys(mail.keys()))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b\U000e0000-\U000e007f]", text)
    assert len(text) < 5_000
