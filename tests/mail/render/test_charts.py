"""Tests of charts: where the axis begins, and what is drawn for it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from pipeline.languages import wording
from pipeline.mail.render.charts import HEIGHT, MAX_ITEMS, WIDTH, _Texts, _values, axis_of, charts_of, draw
from pipeline.model import Change, ChangeKind
from pipeline.store.mail import digests as stored
from tests.mail.conftest import NOW


@pytest.mark.parametrize(("low", "high", "axis"), [
    (1, 90, (0, 90)), (0, 5, (0, 5)), (30, 50, (0, 50)), (41, 60, (41, 60)), (51, 52, (51, 52)), (7, 7, (7, 7)),
    (-8, 10, (-8, 10)), (-90, -1, (-90, 0)), (-52, -51, (-52, -51)), (0, 0, (0, 0)), (1e300, 1.1e300, (1e300, 1.1e300)),
])
def test_the_axis_begins_at_zero_unless_differences_could_not_be_seen(low, high, axis) -> None:
    assert axis_of(low, high) == axis


@pytest.mark.parametrize(("values", "is_filled"), [([10, 90, 45], True), ([51, 52, 51.5], False), ([-5, 5, -8], True), ([7, 7, 7], False)])
def test_only_the_area_down_to_zero_is_filled(values, is_filled) -> None:
    png = draw([(NOW + timedelta(days=day), value) for day, value in enumerate(values)])
    chart = Image.open(io.BytesIO(png)).convert("RGBA")
    assert chart.size == (2 * WIDTH, 2 * HEIGHT)
    faint = [count for count, (red, _, blue, opacity) in chart.getcolors(1 << 20) if 40 <= opacity <= 50 and blue > red]
    assert (sum(faint) > 1000) is is_filled


def test_a_chart_contains_only_values_with_the_unit_of_the_last() -> None:
    texts = ["£4", "900 MB", "1 GB", "5 GB", "2 GB"]
    history = [Change(number, "disks", "a", ChangeKind.NEW, NOW, number, {}, {"room": text}) for number, text in enumerate(texts)]
    assert [value for _, value in _values(history, "room", until=history[-1])] == ["1 GB", "5 GB", "2 GB"]


@pytest.mark.parametrize(("language", "hours", "ends"), [
    ("en", 48, ("30 Nov 2026", "2 Dec 2026")), ("en", 3, ("30 Nov 2026, 07:09", "10:09")), ("de", 3, ("30.11.2026, 07:09", "10:09")),
    ("zh", 3, ("2026年11月30日 07:09", "10:09")),
])
def test_the_dates_of_a_chart_of_one_day_are_short_enough_for_its_width(language, hours, ends) -> None:
    begin = datetime(2026, 11, 30, 7, 9, tzinfo=UTC)
    assert _Texts(wording(language), UTC)._dates(begin, begin + timedelta(hours=hours)) == ends


def test_each_of_the_first_items_has_a_chart_of_each_field_that_changed(store, site) -> None:
    keys = [str(number) for number in range(MAX_ITEMS + 1)]
    site.run({key: {"title": key, "price": 5, "stock": 1} for key in keys})
    run = site.run({key: {"title": key, "price": 6, "stock": 2} for key in keys})
    changes = list(stored.changes_of(store, [run.id]))
    charts = charts_of(store, changes, ["price", "stock"], rules={}, words=wording("en"), zone=UTC, seed="example.com")
    assert list(charts) == [change.id for change in changes[:MAX_ITEMS]]
    assert {tuple(chart.label for chart in found) for found in charts.values()} == {("price", "stock")}
