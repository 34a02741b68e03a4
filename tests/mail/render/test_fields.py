"""Tests of how mails show the fields of items.

Which fields, in which order, and how values and differences are written.
"""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import pipeline
from pipeline.display.field_view import Detail, FieldView
from pipeline.display.formats import FieldRules
from pipeline.languages import wording
from pipeline.mail.render.item_view import ItemViewer
from pipeline.model import Change, ChangeKind
from pipeline.price import price
from pipeline.settings import DisplayTable
from tests.mail.conftest import NOW, built, text_of
from tests.mail.test_digest import mail_of


def change_of(before: dict, after: dict, kind: ChangeKind = ChangeKind.CHANGED) -> Change:
    return Change(1, "books", "key", kind, NOW, 1, before, after)


def viewer_of(rules: FieldRules, language: str = "en", zone: str = "Europe/Berlin") -> ItemViewer:
    return ItemViewer(wording(language), {"books": rules}, ZoneInfo(zone))


def changed(old: object, new: object, *, language: str = "en", zone: str = "Europe/Berlin", kind: str = "", **display: object) -> FieldView:
    """The view of a field `f` with these values before and after. kind: the declared type of the field."""
    rules = FieldRules({"f": kind} if kind else {}, DisplayTable.model_validate(display))
    view, = viewer_of(rules, language, zone).changed_fields(change_of({"f": old}, {"f": new}), Detail(1))
    return view


def plain(old: object, new: object, **how: object) -> str:
    return "\n".join(changed(old, new, **how).plain).replace("\u00a0", " ")


TEMPLATES = Path(pipeline.__file__).parent / "mail" / "render" / "templates"
EURO = price(1299, "EUR", "1.299,-- €")


@pytest.mark.parametrize(("old", "new", "shown"), [
    ("£31.82", "£32.32", "£31.82 → £32.32 ▲ +£0.50 (+1.6%)"),
    ("£1,234.50", "£999", "£1,234.50 → £999 ▼ −£235.50 (−19%)"),
    ("£9,500", "£12,000", "£9,500 → £12,000 ▲ +£2,500 (+26%)"),
    ("1.299,00 €", "1.349,50 €", "1.299,00 € → 1.349,50 € ▲ +50,50 € (+3.9%)"),
    ("1\u202f299,00 €", "2\u202f399,00 €", "1 299,00 € → 2 399,00 € ▲ +1 100,00 € (+85%)"),
    (EURO, price(999, "EUR", "999,-- €"), "1.299,-- € → 999,-- € ▼ −300 € (−23%)"),
    (EURO, price(1249.5, "EUR", "1.249,50 €"), "1.299,-- € → 1.249,50 € ▼ −49,50 € (−3.8%)"),
    ("CHF 1'299.00", "CHF 2'499.00", "CHF 1'299.00 → CHF 2'499.00 ▲ +CHF 1'200.00 (+92%)"),
    ("₹1,23,456", "₹2,34,567.50", "₹1,23,456 → ₹2,34,567.50 ▲ +₹1,11,111.50 (+90%)"),
    ("99 kr", "109 kr", "99 kr → 109 kr ▲ +10 kr (+10%)"),
    ("¥93.00", "¥95.5", "¥93.00 → ¥95.5 ▲ +¥2.50 (+2.7%)"),
    ("１,２００円", "２,３００円", "１,２００円 → ２,３００円 ▲ +１,１００円 (+92%)"),
    ("-£5.00", "£5.00", "-£5.00 → £5.00 ▲ +£10.00"),
    # no difference that has a meaning
    ("$5", "€5", "$5 → €5"), (price(5, "USD", "5"), price(5, "EUR", "5"), "5 (USD) → 5 (EUR)"),
    ("US$ 5", "$6", "US$ 5 → $6"), (price(5, None, "5"), price(6, "EUR", "6 €"), "5 → 6 €"),
    ("$1.2M", "$1.3M", "$1.2M → $1.3M"), ("£10 – £20", "£10 – £30", "£10 – £20 → £10 – £30"),
    ("5 reviews", "7 reviews", "5 reviews → 7 reviews"), ("BMW 320", "BMW 330", "BMW 320 → BMW 330"), ("5½ €", "6½ €", "5½ € → 6½ €"),
    (None, "£5", "— → £5"), ("£5", "", "£5 → —"), ([], ["a", "b"], "— → a, b"), ("sold out", None, "sold out → —"), (" ", "", "changed, but not in the visible text"),
    ("", "one\ntwo", "{+one two+}"),
    # numbers and percentages
    (12, 9, "12 → 9 ▼ −3 (−25%)"), (0, 5, "0 → 5 ▲ +5"), (1.5, 12, "1.5 → 12 ▲ +10.5 (+700%)"), (2025, 2026, "2025 → 2026 ▲ +1"),
    ("12%", "15.5%", "12% → 15.5% ▲ +3.5 pp"), (0.1 + 0.2, 0.4, "0.3 → 0.4 ▲ +0.1 (+33%)"),
    (10**30, 2 * 10**30, f"{10**30} → {2 * 10**30}"), (1e-300, 2e-300, "1e-300 → 2e-300"), ("$99999999999999999999", "$1", "$99999999999999999999 → $1"),
    # other values
    (False, True, "no → yes"), ("2026-11-28", "2026-11-29", "28 Nov 2026 → 29 Nov 2026"),
    ("2026-11-28T23:30:00Z", "2026-11-29T00:30:00+00:00", "29 Nov 2026, 00:30 → 29 Nov 2026, 01:30"),
    ("2026-11-28T23:30:01Z", "2026-11-28T23:30:02Z", "2026-11-28T23:30:01Z → 2026-11-28T23:30:02Z"),
    ("2026-11-28T23:30:00", "2026-11-29T08:00:00", "28 Nov 2026, 23:30 → 29 Nov 2026, 08:00"),
    ("https://www.a.test/x?a=1", "https://a.test/y", "https://www.a.test/x?a=1 → https://a.test/y"),
    (["red", "blue"], ["red"], "red, blue → red"), ({"a_b": 1, "c": EURO}, {"a_b": 2, "c": EURO}, "a b: 1, c: 1.299,-- € → a b: 2, c: 1.299,-- €"),
])
def test_a_change_is_written_as_the_site_writes_it_with_the_difference(old, new, shown) -> None:
    assert plain(old, new) == shown


@pytest.mark.parametrize(("form", "old", "new", "shown"), [
    ("price", "from £12.00 / month", "from £13.00 / month", "from £12.00 / month → from £13.00 / month ▲ +£1.00 (+8.3%)"),
    ("number", "5 reviews", "7 reviews", "5 reviews → 7 reviews ▲ +2 (+40%)"),
    ("number", "1 review", "2 reviews", "1 review → 2 reviews ▲ +1 (+100%)"), ("number", "5 kg", "6 lb", "5 kg → 6 lb"),
    ("price", "£12/month", "£2/week", "£12/month → £2/week"), ("number", "Only 3 left!", "Only 4 left!", "Only 3 left! → Only 4 left! ▲ +1 (+33%)"),
    ("number", 12500, 13000.5, "12,500 → 13,000.5 ▲ +500.5 (+4%)"),
    ("percent", 4.25, 4.5, "4.25% → 4.5% ▲ +0.25 pp"), ("share", 0.125, 0.25, "12.5% → 25% ▲ +12.5 pp"), ("percent", "about 4", "about 5", "about 4 → about 5 ▲ +1 (+25%)"),
    ("percent", "4%", "5%", "4% → 5% ▲ +1 pp"),
    ("size", 12_345_678, 13_000_000, "12.3 MB → 13 MB ▲ +654.3 kB (+5.3%)"), ("size", "1 MB", "2 MB", "1 MB → 2 MB"),
    ("date", "2026-11-28T23:30:00Z", "2026-11-30T08:00:00Z", "29 Nov 2026 → 30 Nov 2026"),
    ("datetime", 1764460800, 1764460800_000 + 86_400_000, "30 Nov 2025, 01:00 → 1 Dec 2025, 01:00"), ("date", "soon", "later", "soon → later"),
    ("text", "2026-11-28", "2026-11-29", "2026-11-28 → 2026-11-29"), ("text", "£5", "£6", "£5 → £6"), ("text", 5, 6, "5 → 6"),
    ("link", "https://a.test/x", "nowhere", "https://a.test/x → nowhere"), ("html", "<b>one</b> two", "<b>one</b> three", "one two → one three"),
    ("size", True, False, "yes → no"), ("number", [1], [2], "1 → 2"),
    # a difference only if both texts count the same
    ("number", "5°C", "41°F", "5°C → 41°F"), ("number", "Level 5", "Page 7", "Level 5 → Page 7"), ("number", "5\"", "6'", "5\" → 6'"),
    ("price", "5 € (net)", "6 € (gross)", "5 € (net) → 6 € (gross)"), ("price", "€5 a month", "€50 a year", "€5 a month → €50 a year"),
    ("price", "monthly 5 €", "yearly 50 €", "monthly 5 € → yearly 50 €"), ("price", "from £5 each", "from £6 each", "from £5 each → from £6 each ▲ +£1 (+20%)"),
    ("number", "1 item", "2 items", "1 item → 2 items ▲ +1 (+100%)"), ("percent", "12 €", "13 €", "12 € → 13 € ▲ +1 € (+8.3%)"),
    ("number", "5% off", "10% off", "5% off → 10% off ▲ +5 pp"),
    ("number", 1000, 0.1, "1000 → 0.1 ▼ −999.9 (−99.99%)"), ("number", 1000, 0, "1000 → 0 ▼ −1000 (−100%)"),
    ("date", "2026-11-28T08:00:00Z", "2026-11-28T12:30:00Z", "28 Nov 2026, 09:00 → 28 Nov 2026, 13:30"),
    # a record with the names of a price is not always one
    ("auto", {"amount": 5, "currency": ["EUR"], "text": "5"}, {"amount": 6, "currency": ["EUR"], "text": "5"},
     "amount: [-5-]{+6+}; currency: EUR; text: 5"),
    # numbers that are no Unix times
    ("date", 20240115, 20240116, "15 Jan 2024 → 16 Jan 2024"), ("date", 2024, 2025, "2024 → 2025 ▲ +1"),
    ("datetime", 0, 1764460800, "0 → 30 Nov 2025, 01:00"), ("date", 20241399, 0, "20241399 → 0 ▼ −20241399 (−100%)"),
])
def test_a_format_of_the_settings_decides_how_a_value_is_written(form, old, new, shown) -> None:
    assert plain(old, new, formats={"f": form}) == shown


@pytest.mark.parametrize(("language", "zone", "shown"), [
    ("en", "America/New_York", "Nov 28, 2026, 6:30 PM"), ("en", "Europe/London", "28 Nov 2026, 23:30"), ("en", "UTC", "28 Nov 2026, 23:30"),
    ("de", "Europe/Berlin", "29.11.2026, 00:30"), ("zh", "Asia/Shanghai", "2026年11月29日 07:30"),
])
def test_times_are_written_in_the_language_and_the_time_zone_of_the_digest(language, zone, shown) -> None:
    assert changed("", "Sat, 28 Nov 2026 23:30:00 GMT", language=language, zone=zone).new == shown


def test_numbers_and_percentages_are_written_in_the_language_of_the_digest() -> None:
    assert plain(12500, 13000.5, language="de", kind="number") == "12.500 → 13.000,5 ▲ +500,5 (+4 %)"
    assert plain(4.25, 4.5, language="de", formats={"f": "percent"}) == "4,25 % → 4,5 % ▲ +0,25 Prozentpunkte"


@pytest.mark.parametrize(("good", "new", "tone"), [
    ({}, 6, "neutral"), ("down", 6, "bad"), ("down", 4, "good"), ({"f": "up"}, 6, "good"), ({"g": "up"}, 6, "neutral"), ("up", "six", "neutral"),
])
def test_a_difference_is_good_or_bad_only_if_the_settings_say_so(good, new, tone) -> None:
    assert changed(5, new, good=good).tone == tone


def test_records_that_are_nested_very_deeply_are_shown_in_part() -> None:
    deep: object = "end"
    for _ in range(400):
        deep = {"a": deep}
    assert plain(deep, {"a": "end"}).startswith("a: → end\n")
    assert plain({"大小": 12, "颜色": "红"}, None, language="zh") == "大小：12，颜色：红 → —"


def shown_fields(data: dict, sources: tuple[str, ...] = (), **display: object) -> dict[str, str]:
    rules = FieldRules({}, DisplayTable.model_validate(display), sources)
    item = viewer_of(rules).item(change_of({}, {"title": "Clock"} | data, ChangeKind.NEW), (), Detail(1))
    return {view.label: view.plain[0] for view in item.fields}


@pytest.mark.parametrize(("data", "expected"), [
    ({"id": "a1", "guid": "tag:x.test,2026:1", "itemId": 7, "sha256": "0" * 63 + "a", "price": "£5"}, {"price": "£5"}),
    ({"ref": "550e8400-e29b-41d4-a716-446655440000", "mark": "d41d8cd98f00b204e9800998ecf8427e"}, {}),
    ({"feed": "https://a.test/feed.xml", "origin": "https://a.test/list", "rss": "https://a.test/blog/feed/"}, {}),
    ({"none": None, "empty": "", "blank": " ", "list": [], "record": {"a": None}}, {}),
    ({"id": "Walnut clock 7", "page_url": "https://www.a.test/clocks/7/"}, {"id": "Walnut clock 7", "page url": "https://www.a.test/clocks/7/"}),
    ({"published": "2026-11-28T23:30:00Z", "stock": 0, "sold": False}, {"published": "29 Nov 2026, 00:30", "stock": "0", "sold": "no"}),
    ({"model": "WALNUT2026", "paid": "yes", "isbn": "9780306406157"}, {"model": "WALNUT2026", "paid": "yes", "isbn": "9780306406157"}),
    ({"photos": ["https://a.test/1.png", "https://a.test/2.png"]}, {"photos": "https://a.test/1.png, https://a.test/2.png"}),
])
def test_values_for_machines_and_empty_values_are_left_out_by_their_kind(data, expected) -> None:
    assert shown_fields({"url": "https://a.test/clock"} | data, ("https://a.test/list",)) == expected


def test_the_settings_choose_the_fields_their_order_and_their_labels() -> None:
    data = {"id": "a1", "price": "£5", "in_stock": True, "colour": "red"}
    assert list(shown_fields(data)) == ["price", "in stock", "colour"]
    assert list(shown_fields(data, show=["colour", "id", "nothing", "price"])) == ["colour", "id", "price"]
    assert list(shown_fields(data, show=["price", "price"])) == ["price"]
    assert list(shown_fields(data, hide=["price"], labels={"in_stock": "Available", "id": "Number"})) == ["Number", "Available", "colour"]


def test_a_field_for_which_there_is_no_room_is_named() -> None:
    many = {f"field_{n}": f"value {n}" for n in range(20)}
    assert list(shown_fields(many).items())[5:] == [("field 5", "value 5"), (
        "not shown", "field 6, field 7, field 8, field 9, field 10, field 11, field 12, field 13, field 14, field 15, field 16, field 17, and 2 more")]
    views = viewer_of(FieldRules(), "de").changed_fields(change_of({}, many), Detail(1))
    assert views[10].value.endswith("field 18, field 19")
    views = viewer_of(FieldRules(), "de").changed_fields(change_of({}, many | {f"more_{n}": n for n in range(5)}), Detail(1))
    assert views[10].value.endswith("more 0, more 1 und 3 weitere")
    views = viewer_of(FieldRules()).changed_fields(change_of({}, many), Detail(1))
    assert (len(views), views[10].label, views[10].value.count(",")) == (11, "also changed", 9)


def test_a_hidden_field_is_named_if_nothing_else_changed_and_an_id_that_changed_is_shown() -> None:
    before, after = {"id": "a1", "stock": 1, "views": 1, "price": "£5"}, {"id": "a2", "stock": 2, "views": 2, "price": "£5"}

    def told(**display: object) -> list[tuple[str, str]]:
        rules = FieldRules({}, DisplayTable.model_validate(display))
        return [(view.label, view.plain[0]) for view in viewer_of(rules).changed_fields(change_of(before, after), Detail(1))]

    assert [label for label, _ in told()] == ["id", "stock", "views"]
    assert told(hide=["stock", "views"]) == [("id", "a1 → a2")]
    assert told(show=["price"], labels={"views": "Visits"}) == [("changed", "id, stock, Visits")]


def test_keys_of_the_digest_replace_those_of_the_spider() -> None:
    spider = DisplayTable(show=("a", "b"), labels={"a": "A", "b": "B"}, good="up")
    digest = DisplayTable(labels={"b": "Bee"}, hide=("a",), good={"a": "down"})
    found = digest.over(spider)
    assert (found.show, found.hide, found.labels, found.good) == (("a", "b"), ("a",), {"a": "A", "b": "Bee"}, {"a": "down"})
    assert DisplayTable(show=("a",)).over(DisplayTable(hide=("a", "c"))).hide == ("c",)


@pytest.mark.parametrize(("data", "title"), [
    ({"id": "a1", "price": "£5", "label": "Walnut clock"}, "Walnut clock"), ({"label": "Walnut clock", "headline": "Sale"}, "Sale"),
    ({"lastmod": "2026-11-10", "loc": "https://www.a.test/clocks/walnut/"}, "a.test/clocks/walnut"), ({"id": "a1", "price": "£5"}, "a1"),
    ({"price": 5}, "key"), ({"note": "Of the buyer", "label": "Walnut clock"}, "Walnut clock"), ({"title": "2026-11-10"}, "2026-11-10"),
])
def test_the_title_of_an_item_is_a_text_for_people_if_there_is_one(data, title) -> None:
    rules = FieldRules(display=DisplayTable(hide=("note",)))
    assert viewer_of(rules).item(change_of({}, data, ChangeKind.NEW), (), Detail(1)).title == title


def test_prices_of_a_long_list_form_a_column_at_the_end_of_the_line(store, site, settings_from) -> None:
    site.run({str(n): {"title": f"Clock {n}", "price": f"£{n}.00", "stock": n} for n in range(1, 14)})
    mail = mail_of(store, built(store, settings_from()))
    html = re.sub(r' style="[^"]*"', "", text_of(mail, "html"))
    assert '<div class="title" dir="auto"><bdi class="price">£13.00</bdi> Clock 13</div>' in html
    assert '<div class="f" dir="auto"><span class="n">stock: </span><bdi>13</bdi></div>' in html
    assert "  price: £13.00 · stock: 13\n" in text_of(mail).replace("\r\n", "\n")


def test_a_mail_shows_the_difference_in_both_parts_and_colours_it_only_if_told(store, site, settings_from) -> None:
    settings = settings_from(digest='good = { price = "down" }\nlabels = { price = "Price now" }\nhide = ["secret"]')
    site.run({"1": {"title": "Clock", "price": "£31.82", "stock": 4, "secret": "x"}})
    built(store, settings)
    site.run({"1": {"title": "Clock", "price": "£30.00", "stock": 3, "secret": "y"}})
    mail = mail_of(store, built(store, settings, slot="s2"))
    text, html = text_of(mail).replace("\u00a0", " ").replace("\r\n", "\n"), text_of(mail, "html").replace("\u00a0", " ")
    assert "  Price now: £31.82 → £30.00 ▼ −£1.82 (−5.7%)\n  stock: 4 → 3 ▼ −1 (−25%)\n" in text
    assert 'class="delta good"' in html
    assert html.count('class="delta"') == 1
    assert len(re.findall(r'class="delta[^>]*white-space: nowrap', html)) == 2, "no line ends between a sign and its number"
    assert "▼ −£1.82 (−5.7%)" in html.replace("&nbsp;", " ")
    assert "secret" not in text + html


def contrast(one: str, other: str) -> float:
    """Contrast of two colours such as #17663a (WCAG 2.2, contrast ratio)."""
    def luminance(colour: str) -> float:
        parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["was", "now", "delta", "good", "bad"])
def test_old_and_new_values_and_their_difference_have_enough_contrast_in_light_and_dark(name) -> None:
    light, _, dark = (TEMPLATES / "_item_style.css").read_text("utf-8").partition("@media")
    for rules, background in ((light, "#ffffff"), (dark, "#1b2026")):
        colour, = re.findall(rf"\.{name}(?:, [^{{]*)? {{ color: (#[0-9a-f]{{6}})", rules)
        assert contrast(colour, background) >= 4.5


def test_a_change_far_down_in_a_long_list_is_shown() -> None:
    sizes = [f"size {number}" for number in range(100)]
    assert "size 77" in plain(sizes, [*sizes[:77], *sizes[78:]])
    assert "and 70 more" in viewer_of(FieldRules())._fields.value("f", sizes, FieldRules(), link="", length=400, on_one_line=False).value


def test_a_hidden_value_is_neither_the_title_nor_the_link_of_its_item() -> None:
    data = {"sku": "https://intern.test/4711", "price": "£5"}
    change = Change(1, "books", data["sku"], ChangeKind.NEW, NOW, 1, {}, data)
    item = viewer_of(FieldRules(display=DisplayTable(hide=("sku",)))).item(change, (), Detail(1))
    assert "intern" not in repr(item)
    assert viewer_of(FieldRules()).item(change, (), Detail(1)).link == data["sku"]
