"""Tests of net changes: what the reader of a digest last knew of an item, and what it is now."""

from __future__ import annotations

import email
import operator
from collections.abc import Sequence
from email.policy import default

import pytest

from pipeline.mail.digests.contents import contents_of
from pipeline.mail.filters import holds
from pipeline.model import Change
from pipeline.price import price
from pipeline.settings import GroupTable, Settings
from pipeline.store import Store
from pipeline.store.crawl.compare import Comparison
from pipeline.store.mail import digests, outbox
from tests.mail.conftest import NOW, Site, built, text_of

GONE = None


def runs(site: Site, prices: Sequence[float | None], *, views: bool = False) -> None:
    """One run for each price of an item; None is a run that does not find it. views: whether it has a field that always changes."""
    for amount in prices:
        own = {"views": site.slots} if views else {}
        clock = {} if amount is GONE else {"clock": {"title": "Clock", "price": amount, **own}}
        site.run(clock | {"other": {"title": "Other"}})


def told(store: Store, settings: Settings, name: str = "morning") -> dict[str, str]:
    """What the next digest tells of each item."""
    table = settings.digests[name]
    return {change.key: written(change)
            for content in contents_of(store, settings, name, digests.untold(store, name, table.spiders)) for change in content.changes}


def written(change: Change) -> str:
    prices = [f"{data['price']:g}" for data in (change.before, change.after) if "price" in data]
    return f"{change.kind}: {' -> '.join(prices)}"


FELL = 'where = ["price < before"]'
CHANGED = 'changes = ["changed"]'
NET = [
    # known, found since then, digest, told
    ([10], [12, 10], "", ""),
    ([10], [12, 8], "", "changed: 10 -> 8"),
    ([10], [12, 8], FELL, "changed: 10 -> 8"),
    ([10], [12, 11], FELL, ""),
    ([10], [8, 9], FELL, "changed: 10 -> 9"),
    ([10], [8, 10], FELL, ""),
    ([10], [GONE], "", "gone: 10"),
    ([10], [12, GONE], "", "gone: 10"),
    ([10], [GONE, 10], "", ""),
    ([10], [GONE, 8], "", "changed: 10 -> 8"),
    ([10], [GONE, 8], FELL, "changed: 10 -> 8"),
    ([10], [GONE, 8, GONE], "", "gone: 10"),
    ([10, GONE], [8], "", "back: 10 -> 8"),
    ([10, GONE], [12, 8], "", "back: 10 -> 8"),
    ([10, GONE], [12, 11], FELL, ""),
    ([10, GONE], [8], FELL, "changed: 10 -> 8"),
    ([10, GONE], [8], CHANGED, "changed: 10 -> 8"),
    ([10, GONE], [10], CHANGED, ""),
    ([10, GONE], [8, GONE], "", ""),
    ([], [10], "", "new: 10"),
    ([], [10], FELL, ""),
    ([], [10, 8], "", "new: 10 -> 8"),
    ([], [10, 8], FELL, "changed: 10 -> 8"),
    ([], [10, 8], CHANGED, "changed: 10 -> 8"),
    ([], [10, 8], 'changes = ["new"]', "new: 10 -> 8"),
    ([], [10, 8], 'changes = ["gone"]', ""),
    ([], [10, 10], CHANGED, ""),
    ([], [10, 8, 8], FELL, "changed: 10 -> 8"),
    ([], [10, 12, 8], FELL, "changed: 12 -> 8"),
    ([], [10, 8, 12], FELL, ""),
    ([], [10, 8, 10], "", "new: 8 -> 10"),
    ([], [10, GONE], "", ""),
    ([], [10, GONE, 10], "", "new: 10"),
    ([], [10, GONE, 8], FELL, "changed: 10 -> 8"),
]


def test_a_digest_tells_what_the_reader_last_knew_against_what_is_now(store, site, settings_from) -> None:
    """Each row is an item of its own. It stays as it is where it has fewer states than others."""
    filters = {f"d{number}": text for number, text in enumerate(dict.fromkeys(row[2] for row in NET))}
    settings = settings_from(digest="".join(f'[digests.{name}]\nspiders = ["books"]\nto = ["me@example.com"]\n{text}\n'
                                            for name, text in filters.items()))
    known = [[GONE] * (2 - len(row[0])) + row[0] for row in NET]
    found = [row[1] + row[1][-1:] * (3 - len(row[1])) for row in NET]
    for number, states in enumerate(zip(*map(operator.add, known, found), strict=True)):
        site.run({"other": {"title": "Other"}} | {str(row): {"price": state} for row, state in enumerate(states) if state is not GONE})
        if number < 2:
            for name in filters:
                claim = digests.claim(store, name, ["books"], f"known {number}", owner="me", now=NOW)
                digests.close(store, claim.id, [], owner="me", now=NOW)
    by_filter = {text: told(store, settings, name) for name, text in filters.items()}
    assert [(*row[:3], by_filter[row[2]].get(str(number), "")) for number, row in enumerate(NET)] == NET


def test_a_price_that_fell_before_another_field_changed_is_not_lost(store, site, settings_from) -> None:
    for amount, title in ((10, "Clock"), (8, "Clock"), (8, "Walnut clock")):
        site.run({"clock": {"title": title, "price": amount}})
    assert told(store, settings_from(digest=FELL)) == {"clock": "changed: 10 -> 8"}


def test_digests_with_other_schedules_and_groups_have_their_own_last_known_values(store, site, settings_from, tmp_path) -> None:
    settings = settings_from(digest=f"{FELL}\n[[digests.morning.groups]]\nto = [\"b@example.com\"]\nwhere = [\"price > 8\"]\n"
                                    '[digests.weekly]\nspiders = ["books"]\nto = ["me@example.com"]')
    for amount, expected in ((10, ""), (12, ""), (9, "changed: 12 -> 9"), (8, "changed: 9 -> 8"), (10, "")):
        runs(site, [amount])
        assert told(store, settings).get("clock", "") == expected
        built(store, settings, slot=f"slot {amount}")
    assert told(store, settings, "weekly")["clock"] == "new: 8 -> 10"


@pytest.mark.parametrize(("known", "found", "digest", "expected"), [
    (([10, GONE],), [8], "", "new: 10 -> 8"), (([10, GONE],), [10], "", "new: 10 -> 10"), (([10, GONE],), [8, 7], "", "new: 8 -> 7"),
    (([10, GONE],), [8], FELL, "changed: 10 -> 8"), (([10, GONE],), [8, GONE], "", ""), (([10, GONE], [9, GONE]), [8], "", "new: 9 -> 8"),
    (([10], [GONE]), [8], "", "back: 10 -> 8"), (([10], [GONE]), [9, 8], "", "back: 10 -> 8")])
def test_an_item_is_back_only_for_a_reader_who_was_told_of_it(  # noqa: PLR0917  pytest hands them in by name
        known, found, digest, expected, store, site, settings_from) -> None:
    """known: the runs of each earlier digest."""
    settings = settings_from(digest=digest)
    for number, prices in enumerate(known):
        runs(site, prices)
        built(store, settings, slot=f"slot {number}")
    runs(site, found)
    assert told(store, settings).get("clock", "") == expected


@pytest.mark.parametrize(("items", "found", "expected"), [
    ('ignore = ["views"]', [12, 10], ""), ('ignore = ["views"]', [12, 11], "changed: 10 -> 11"), ("", [12, 10], "changed: 10 -> 10"),
    ('ignore = ["views"]\nmin_change = { price = 2 }', [13, 11], ""),
    ('ignore = ["views"]\nmin_change = { price = 2 }', [12, 14], "changed: 10 -> 14")])
def test_ignored_fields_and_small_changes_are_no_net_change(  # noqa: PLR0917  pytest hands them in by name
        items, found, expected, store, site, settings_from) -> None:
    settings = settings_from(digest=f"[spiders.books.items]\nkey = [\"title\"]\n{items}\n[spiders.books.items.fields]\n"
                                    'title = "a"\nprice = "b"\nviews = "i"')
    site.comparison = Comparison.of_spider(settings.spiders["books"])
    runs(site, [10], views=True)
    built(store, settings)
    runs(site, found, views=True)
    assert told(store, settings).get("clock", "") == expected


def test_a_price_that_fell_before_the_first_digest_is_shown_with_both_values(store, site, settings_from) -> None:
    settings = settings_from(digest=FELL)
    runs(site, [10, 8])
    message_id, = built(store, settings).message_ids
    content = store.files.path(outbox.get(store, message_id)[0].file_key).read_bytes()
    assert "price: 10 → 8" in text_of(email.message_from_bytes(content, policy=default))


@pytest.mark.parametrize(("before", "after", "fell"), [
    (price(10, "GBP", "£10"), price(8, "GBP", "£8"), True), (price(10, "GBP", "£10"), price(8, "EUR", "8 €"), False),
    (price(10, None, "10"), price(8, "EUR", "8 €"), True), ("10 left", "8 left", True), (10, None, False), (None, 8, False),
    ("£10", "€8", False), ("£10", "£8", True), ("€10", "8 EUR", True), ("￥10", "¥8", True)])
def test_a_price_in_another_currency_has_not_fallen(before, after, fell) -> None:
    condition, = GroupTable(to=("a@example.com",), where=(FELL[10:-2],)).where
    assert holds(condition, {"price": after}, {"price": before}) is fell
