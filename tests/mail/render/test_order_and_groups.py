"""Tests of the order of a digest.

Groups, important changes, the place of the problems, and what it says if nothing is new.
"""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import default

import pytest

from pipeline.languages import wording
from pipeline.mail.digests.preview import preview
from pipeline.mail.render.group_view import Group, Grouping, ShownItems
from pipeline.mail.render.item_view import ItemView
from pipeline.mail.summary import summarize
from pipeline.mail.top_changes import TopChanges, fair_shares
from pipeline.model import Change, ChangeKind, Outcome, Reject
from tests.mail.conftest import NOW, built
from tests.mail.render.test_subject import latest, text_of

BOOKS = {str(n): {"title": f"Book {n}", "price": f"£{n}0.00", "stock": n} for n in range(1, 5)}
RAISED = {"1": BOOKS["1"] | {"stock": 9}, "2": BOOKS["2"] | {"price": "£21.00"}, "3": BOOKS["3"] | {"price": "£45.00"}, "4": BOOKS["4"], "5": {"title": "Book 5"}}


def outline(mail) -> list[str]:
    """The headings, titles and notes in the text of a mail, in their order."""
    lines = text_of(mail).replace("\r\n", "\n").partition("\n-- \n")[0].split("\n")
    return [line.strip("=* ") for line in lines[2:] if line and not line.startswith("  ")]


def told(store, site, settings, *runs) -> list[str]:
    """The outline of the digest that follows the runs, each (spider, items)."""
    for spider, items in runs:
        site.run(items, spider=spider)
    return outline(latest(store, built(store, settings, slot=f"s{site.slots}").message_ids[0]))


def test_several_spiders_are_told_one_after_another_in_the_order_of_the_settings(store, site, settings_from) -> None:
    settings = settings_from(spiders=("shop_one", "news"))
    found = told(store, site, settings, ("news", {"1": {"title": "Headline"}}), ("shop_one", {"1": BOOKS["1"]}))
    assert found == ["Shop one", "New (1)", "Book 1", "News", "New (1)", "Headline"]
    found = told(store, site, settings, ("shop_one", {"2": BOOKS["2"], "1": BOOKS["1"] | {"stock": 7}}), ("news", {"1": {"title": "Headline"}}))
    assert found == ["Shop one", "New (1)", "Book 2", "Changed (1)", "Book 1"]


def test_the_subject_of_many_changes_names_one_of_each_spider_first(store, site, settings_from) -> None:
    settings = settings_from(spiders=("shop", "news", "films"))
    site.run({"1": {"title": "Film, new"}}, spider="films")
    site.run(BOOKS, spider="shop")
    site.run({"1": {"title": "Headline"}}, spider="news")
    assert latest(store, built(store, settings).message_ids[0])["Subject"] == "6 new: Book 1 · Headline · Film, new · …"


def test_the_html_has_the_same_headings_as_the_text(store, site, settings_from) -> None:
    settings = settings_from(spiders=("shop", "news"))
    site.run({"1": BOOKS["1"]}, spider="shop")
    site.run({"1": {"title": "Headline"}}, spider="news")
    html = text_of(latest(store, built(store, settings).message_ids[0]), "html")
    assert re.findall(r"<h([123])[^>]*>(.*?)</h", html) == [("1", "Morning"), ("2", "Shop"), ("3", "New (1)"), ("2", "News"), ("3", "New (1)")]
    assert "· <bdi>" not in html  # the heading names the spider


@pytest.mark.parametrize(("digest", "expected"), [
    ('group_by = "kind"', ["Book 1 [shop]", "Headline [news]", "Film [films]"]),
    ('group_by = "tag"', ["Reading", "New (2)", "Book 1 [shop]", "Headline [news]", "Other", "New (1)", "Film [films]"]),
    ('group_by = "spider"', ["Shop", "New (1)", "Book 1", "News", "New (1)", "Headline", "Films", "New (1)", "Film"]),
])
def test_a_digest_is_grouped_as_the_settings_say(digest, expected, store, site, settings_from) -> None:
    settings = settings_from(digest=digest, spiders=("shop", "news", "films"))
    for spider in ("shop", "news"):
        settings.spiders[spider] = settings.spiders[spider].model_copy(update={"tags": ("reading",)})
    assert told(store, site, settings, ("shop", {"1": BOOKS["1"]}), ("news", {"1": {"title": "Headline"}}), ("films", {"1": {"title": "Film"}})) == expected


def test_spiders_without_any_tag_are_no_group(store, site, settings_from) -> None:
    settings = settings_from(digest='group_by = "tag"', spiders=("shop", "news"))
    assert told(store, site, settings, ("shop", {"1": BOOKS["1"]}), ("news", {"1": {"title": "Headline"}})) == ["Book 1 [shop]", "Headline [news]"]


@pytest.mark.parametrize(("important", "expected", "subject"), [
    ("", ["New (1)", "Book 5", "Changed (3)", "Book 1", "Book 2", "Book 3"], "1 new, 3 changed: Book 5, Book 1, Book 2, …"),
    ('important = "price"', ["Changed (3)", "Book 3", "Book 2", "Book 1", "New (1)", "Book 5"], "1 new, 3 changed: Book 3, Book 2, Book 1, …"),
    ('important = ["stock", "price"]', ["Changed (3)", "Book 1", "Book 3", "Book 2", "New (1)", "Book 5"], "1 new, 3 changed: Book 1, Book 3, Book 2, …"),
    ('important = "pages"', ["New (1)", "Book 5", "Changed (3)", "Book 1", "Book 2", "Book 3"], "1 new, 3 changed: Book 5, Book 1, Book 2, …"),
])
def test_important_changes_come_first_the_largest_before_smaller_ones(  # noqa: PLR0917  pytest hands them in by name
        important, expected, subject, store, site, settings_from) -> None:
    settings = settings_from(digest=important)
    told(store, site, settings, ("books", BOOKS))
    site.run(RAISED)
    mail = latest(store, built(store, settings, slot="s2").message_ids[0])
    assert (outline(mail), mail["Subject"]) == (expected, subject)


def test_a_small_spider_is_not_lost_behind_a_large_one(store, site, settings_from) -> None:
    settings = settings_from(spiders=("shop", "news"))
    found = told(store, site, settings, ("shop", {str(n): {"title": f"Book {n}"} for n in range(300)}), ("news", {"1": {"title": "Headline"}}))
    assert found[-3:] == ["News", "New (1)", "Headline"]
    assert sum(line.startswith("Book") for line in found) == 300


def test_a_digest_of_very_many_spiders_groups_the_last_of_them_together() -> None:
    spiders = [f"spider_{n:03}" for n in range(120)]
    summary = summarize([Change(n, spider, "key", ChangeKind.NEW, NOW, 1, {}, {"title": spider}) for n, spider in enumerate(spiders)], [], [], keep=60)
    grouping = Grouping({spider: spider for spider in spiders}, by_spider=True)

    def groups(most: int) -> list[Group]:
        return ShownItems(summary, grouping, most, lambda kind, position: ItemView("title", "", "", [])).groups(wording("en"), "")

    found = groups(60)
    assert (len(found), found[0].heading, found[-1].heading, found[-1].count) == (40, "Spider 000", "Other", 81)
    assert sum(len(section.items) for group in found for section in group.sections) == 60
    assert [group.heading for group in groups(0)] == [""]  # a mail with nothing but counts has no groups


def test_what_is_kept_is_bounded_whatever_the_number_of_spiders() -> None:
    top = TopChanges(60, ["price"])
    for number in range(5000):
        top.add(Change(number, f"spider {number % 500}", str(number), ChangeKind.CHANGED, NOW, 1, {"price": 100}, {"price": 100 + number}))
    assert sum(map(len, top._ranked[ChangeKind.CHANGED].values())) <= 1000
    kept = top.kept()[0][ChangeKind.CHANGED]
    assert (len(kept), kept[0].key, top.counts) == (60, "4999", {ChangeKind.CHANGED: 5000})
    assert fair_shares([300, 2, 40], 60) == [29, 2, 29]
    assert fair_shares([1, 1, 1], 2) == [0, 1, 1]


@pytest.mark.parametrize(("problem", "place"), [
    ("suspect", 0), ("failed, with items", 0), ("failed, without items", -1), ("rejected", -1), ("incomplete", -1)])
def test_problems_come_first_only_if_they_say_how_far_the_items_can_be_trusted(problem, place, store, site, settings_from) -> None:
    settings = settings_from(spiders=("books", "news"), digest='group_by = "kind"')
    site.run(BOOKS)
    site.run({"1": {"title": "Headline"}}, spider="news")
    built(store, settings)
    site.run({"5": {"title": "Book 5"}} if problem == "suspect" else BOOKS | {"5": {"title": "Book 5"}},
             rejects=[Reject("no price", {}, key="9")] if problem == "rejected" else (), doubt="no rule matched" if problem == "suspect" else "",
             failed_pages=1 if problem == "incomplete" else 0, complete=problem != "incomplete")
    if problem.startswith("failed"):
        site.run(None, spider="books" if problem == "failed, with items" else "news", outcome=Outcome.FAILED, error="no answer")
    mail = latest(store, built(store, settings, slot="s2").message_ids[0])
    assert outline(mail)[place] == "! Problems"
    assert outline(mail).count("! Problems") == text_of(mail, "html").count(">Problems<") == 1
    if problem == "incomplete":
        assert "books: the last run could not read all pages, so it reports no items as gone" in text_of(mail)


def test_an_interrupted_run_is_a_problem_of_the_mail_but_has_not_failed(store, site, settings_from) -> None:
    settings = settings_from(spiders=("books", "news"))
    site.run({"1": {"title": "Book 1"}})
    site.run(None, spider="news", outcome=Outcome.ABANDONED)
    mail = latest(store, built(store, settings).message_ids[0])
    assert mail["Subject"] == "New: Book 1"
    assert "news: was interrupted" in text_of(mail)


@pytest.mark.parametrize(("language", "said"), [
    ("en", "Checked:\n  books: 2 pages, 42 items, Sun 22 Nov 2026 07:02\n  news: never read successfully\n"),
    ("zh", "已检查：\n  books：2 页，42 个条目，2026-11-22 07:02\n  news：从未成功读取\n"),
    ("de", "Geprüft:\n  books: 2 Seiten, 42 Einträge, So., 22. Nov. 2026, 07:02\n  news: noch nie erfolgreich gelesen\n"),
])
def test_nothing_new_says_what_was_checked_and_when(  # noqa: PLR0917  pytest hands them in by name
        language, said, store, site, settings_from, tmp_path) -> None:
    settings = settings_from(spiders=("books", "news"), digest=f'language = "{language}"')
    items = {str(n): {"title": f"Book {n}"} for n in range(42)}
    site.run(items)
    built(store, settings)
    site.run(items, pages={"1": b"<p>Book 1</p>"})
    eml, _, text = preview(store, settings, "morning", tmp_path / "look", now=NOW)
    assert said in text.read_text("utf-8")
    assert "books" in message_from_bytes(eml.read_bytes(), policy=default)["Subject"]
