"""Tests that a digest names every change.

Those for which a mail has no room in full are named on one line each.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC

import lxml.html
import pytest

from pipeline.mail.digests.contents import RecipientsContent
from pipeline.mail.digests.model_summary import MAX_READ, read_changes
from pipeline.mail.message.attachments import Packed
from pipeline.mail.render import render as render_module
from pipeline.mail.render.group_view import Grouping
from pipeline.mail.render.model_summary_view import SummaryOptions
from pipeline.mail.render.render import HTML_LIMIT, Rendered, RenderOptions, render
from pipeline.mail.summary import summarize
from pipeline.mail.top_changes import KEEP, NAMED, TopChanges, shortened
from pipeline.model import Change, ChangeKind, ModelSummary
from pipeline.settings import DigestTable
from tests.mail.conftest import NOW

NEW, CHANGED, GONE = ChangeKind.NEW, ChangeKind.CHANGED, ChangeKind.GONE
LONG = "a long title of an item that goes on and on " * 4
MIXED = (NEW, NEW, CHANGED, GONE)


def change(number: int, kind: ChangeKind, spider: str, *, title: str = "", path: str = "") -> Change:
    item = {"title": f"Item {number:04} {title}".strip(), "price": f"{number + 1}.00 €", "url": f"https://{spider}.example/{number}{path}"}
    before = {NEW: {}, CHANGED: item | {"price": f"{number + 2}.00 €"}, GONE: item}[kind]
    return Change(number, spider, str(number), kind, NOW, 1, before, {} if kind is GONE else item)


def mail(count: int, *, spiders: int = 1, kinds: tuple[ChangeKind, ...] = (NEW,), group_by: str = "spider", title: str = "", path: str = "",
         model: SummaryOptions | None = None) -> Rendered:
    names = [f"spider{n}" for n in range(spiders)]
    changes = [change(n, kinds[n % len(kinds)], names[n % spiders], title=title, path=path) for n in range(count)]
    grouping = {"spider": Grouping({name: name for name in names}, by_spider=True), "kind": Grouping(),
                "tag": Grouping({name: f"tag{n % 3}" for n, name in enumerate(names)})}[group_by if spiders > 1 else "kind"]
    summary = replace(summarize(changes, [], [], keep=KEEP, named=NAMED), spiders=names)
    return render(summary, Packed(), RenderOptions("morning", None, "en", UTC, NOW, grouping=grouping, model_summary=model))


def named_in(text: str) -> list[str]:
    """The items that a text names, and the numbers of those that it only counts."""
    return re.findall(r"Item (\d{4})", text.partition("\n-- \n")[0])


@pytest.mark.parametrize(("count", "options", "least"), [
    (1, {}, 1), (60, {}, 60), (61, {}, 61), (200, {}, 200), (700, {}, 300), (5_000, {}, 300),
    (61, {"spiders": 15}, 61), (200, {"spiders": 15, "kinds": MIXED}, 200), (200, {"spiders": 15, "kinds": MIXED, "group_by": "kind"}, 200),
    (200, {"spiders": 15, "kinds": MIXED, "group_by": "tag"}, 200), (700, {"spiders": 15, "kinds": MIXED}, 250), (5_000, {"spiders": 300, "kinds": MIXED}, 150),
    (200, {"title": LONG, "path": "?" + "q" * 200}, 200), (200, {"title": LONG, "path": "?" + "q" * 2000, "spiders": 15}, 200),
    (200, {"title": "<&>\"' " * 40, "path": "?a=1&b=2", "spiders": 15, "kinds": MIXED}, 200)])
def test_every_change_is_named_as_far_as_the_html_has_room(count, options, least) -> None:
    rendered = mail(count, **options)
    assert len(rendered.html.encode()) < HTML_LIMIT
    body = lxml.html.fromstring(rendered.html).xpath("//td[@class='inner']")[0].text_content()
    html, text = named_in(body), named_in(rendered.text.partition("\n\n")[2])
    assert html == text
    assert len(set(text)) == len(text) >= least
    for shown in (body, rendered.text):
        assert len(text) + sum(int(n.replace(",", "")) for n in re.findall(r"… and ([\d,]+) more", shown)) == count


def test_what_has_no_room_in_full_is_named_with_a_link_and_its_price_or_what_changed() -> None:
    rendered = mail(320, kinds=MIXED, spiders=4, group_by="kind")
    page = lxml.html.fromstring(rendered.html)
    lines = {re.sub(r"\s+", " ", each.text_content()): each.xpath("string(a/@href)") for each in page.find_class("brief")}
    assert lines["Item 0316 · spider0 · 317.00 €"] == "https://spider0.example/316"
    assert lines["Item 0318 · spider2 · price: 320.00 € → 319.00 € (−0.3%)"] == "https://spider2.example/318"
    assert lines["Item 0319 · spider3"] == "https://spider3.example/319"
    assert "* Item 0316 [spider0] · 317.00 €\n  https://spider0.example/316\n* Item 0317 [spider1] · 318.00 €\n" in rendered.text
    assert "* Item 0318 [spider2] · price: 320.00 € → 319.00 € ▼\N{NO-BREAK SPACE}−1.00 € (−0.3%)\n  https://spider2.example/318\n\n== Gone (80) ==\n" in rendered.text


def test_long_links_are_left_out_last() -> None:
    assert mail(200, title=LONG, path="?" + "q" * 200).html.count('href="https://spider0.example/') == 200


def test_the_first_items_of_each_spider_are_shown_in_full_and_the_others_below_them() -> None:
    found = lxml.html.fromstring(mail(130, spiders=2).html).xpath("//div[@class='item']|//div[@class='brief']")
    kinds = [(each.get("class"), int(named_in(each.text_content())[0]) % 2) for each in found]
    full = kinds.count(("item", 0))
    assert kinds == [("item", 0)] * full + [("brief", 0)] * (65 - full) + [("item", 1)] * full + [("brief", 1)] * (65 - full)
    assert 8 <= full <= 30


def test_a_change_that_is_only_named_is_kept_without_most_of_its_long_values() -> None:
    top = TopChanges(60, named=500)
    for number in range(1000):
        text = " ".join(["word"] * 4000)
        top.add(Change(number, "books", str(number), CHANGED, NOW, 1, {"title": "Book", "text": f"{text} before"}, {"title": "Book", "text": f"{text} after"}))
    whole, others = (each[CHANGED] for each in top.kept())
    assert ([change.id for change in whole], [change.id for change in others]) == (list(range(60)), list(range(60, 500)))
    assert {len(change.after["text"]) > 20_000 for change in whole} == {True}
    assert {(change.fields[0], change.after["text"].endswith("word after"), len(str(change.after)) < 2_000) for change in others} == {("text", True, True)}
    assert shortened(others[0]) is others[0]


def test_a_model_reads_those_first_that_can_be_shown_in_full_and_a_fair_share_of_each_kind() -> None:
    summary = summarize([change(n, MIXED[n % 4], "books") for n in range(4_000)], [], [], keep=KEEP, named=NAMED)
    read = read_changes(RecipientsContent(DigestTable(spiders=("books",), to=("me@example.com",)), 0, [], summary))
    assert len({each.id for each in read}) == len(read) == MAX_READ
    assert [each.kind for each in read[:180]] == [NEW] * 60 + [CHANGED] * 60 + [GONE] * 60
    assert [sum(each.kind is kind for each in read) for kind in (NEW, CHANGED, GONE)] == [333, 333, 334]


def test_the_line_that_says_why_there_is_no_summary_takes_no_room_of_a_change(monkeypatch) -> None:
    plain = mail(200, spiders=15, kinds=MIXED)
    monkeypatch.setattr(render_module, "HTML_LIMIT", len(plain.html.encode()) + 1)
    failed = mail(200, spiders=15, kinds=MIXED, model=SummaryOptions(ModelSummary(problem="the language model did not answer in time")))
    added, = set(failed.html.splitlines()) - set(plain.html.splitlines())
    assert [line for line in failed.html.splitlines() if line != added] == plain.html.splitlines()
