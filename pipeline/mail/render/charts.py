"""Draw charts of a numeric field over time: a small PNG picture for the mail, and an alternative text.

A chart is a line of steps, because a value stays the same until it changes. A chart contains no letters and therefore needs no font.
The colours can be seen on light and dark backgrounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from pipeline.errors import UsageError
from pipeline.languages import Wording
from pipeline.mail.field_text import field_text
from pipeline.mail.filters import number
from pipeline.mail.message.compose import Picture
from pipeline.model import Change, ChangeKind, Json
from pipeline.price import is_price, same_currency
from pipeline.store import Store
from pipeline.store.mail import digests as stored
from pipeline.text import clean_line

WIDTH, HEIGHT = 280, 56
"""Width and height of a chart in the mail, in CSS pixels. The PNG has twice this size, for high-resolution screens."""
MAX_CHARTS = 12
_MAX_POINTS = 400
_PAD = 6
_LONGEST = 40
Points = list[tuple[datetime, float]]
Values = list[tuple[datetime, Json]]


@dataclass(frozen=True)
class Chart:
    """The picture of a chart and its alternative text."""

    picture: Picture
    alt: str

    @property
    def cid(self) -> str:
        return f"cid:{self.picture.name}"

    @property
    def width(self) -> int:
        return WIDTH

    @property
    def height(self) -> int:
        return HEIGHT


def charts_of(store: Store, changes: Sequence[Change], fields: Sequence[str], *, words: Wording, zone: tzinfo,
              seed: str) -> dict[int, list[Chart]]:
    """Return the charts of each change, by the change's id: a chart for each of `fields` that changed.

    seed: text that makes the Content-IDs of the pictures unique. At most MAX_CHARTS charts are drawn. Raises UsageError if the extra
    `charts` is not installed.
    """
    found: dict[int, list[Chart]] = {}
    wanted = [change for change in changes if any(name in fields for name in change.fields)][:MAX_CHARTS]
    for spider in dict.fromkeys(change.spider for change in wanted):
        own = [change for change in wanted if change.spider == spider]
        histories: dict[str, list[Change]] = {}
        for past in stored.change_history(store, spider, [change.key for change in own]):
            histories.setdefault(past.key, []).append(past)
        for change in own:
            for name in fields:
                values = _values(histories.get(change.key, []), name, until=change)
                if len(values) > 1 and name in change.fields and len(found) < MAX_CHARTS:
                    points = [(at, _number(value)) for at, value in values]
                    picture = Picture(f"chart-{change.id}-{len(found.get(change.id, ()))}@{seed}", draw(points))
                    found.setdefault(change.id, []).append(Chart(picture, _alt_text(name, values, words, zone)))
    return found


def _values(history: Sequence[Change], field: str, *, until: Change) -> Values:
    """Return the last `_MAX_POINTS` values of an item's field, each with the time at which it was found.

    history: the changes of the item, oldest first. until: the last change to include. Prices in another currency than the last price
    are left out.
    """
    values: Values = []
    for change in history:
        if change.id > until.id:
            break
        if not values and change.kind is ChangeKind.CHANGED and number(change.before.get(field)) is not None:
            values.append((change.at, change.before[field]))  # it is unknown since when the item has had this value
        if change.kind is not ChangeKind.GONE and number(change.after.get(field)) is not None:
            values.append((change.at, change.after[field]))
    return [(at, value) for at, value in values[-_MAX_POINTS:] if same_currency(value, values[-1][1])]


def _alt_text(field: str, values: Values, words: Wording, zone: tzinfo) -> str:
    alone = [value for _, value in values]
    first, last, low, high = (_written(value) for value in (alone[0], alone[-1], min(alone, key=_number), max(alone, key=_number)))
    return words.chart.format(field=clean_line(field, 40), start=f"{values[0][0].astimezone(zone):%Y-%m-%d}", first=first,
                              last=last, low=low, high=high)


def _written(value: Json) -> str:
    """Return a value of a chart as text. A price is returned as the site writes it."""
    return clean_line(field_text(value), _LONGEST) if is_price(value) else f"{_number(value):,.10g}"


def _number(value: Json) -> float:
    found = number(value)
    assert found is not None
    return found


def draw(points: Points) -> bytes:
    """Draw a chart and return it as a PNG.

    points: at least two pairs of time and value. Raises UsageError if the package resvg-py is not installed.
    """
    try:
        import resvg_py  # noqa: PLC0415  an extra; only digests with charts need it
    except ImportError as error:
        raise UsageError("charts need the package resvg-py, which is not installed", where="settings.toml: digests.…charts",
                         fix="run `pip install 'crawl-to-inbox[charts]'`, or remove the `charts` setting") from error
    png = resvg_py.svg_to_bytes(svg_string=_svg(points), zoom=2, skip_system_fonts=True)
    return bytes(png)


def _svg(points: Points) -> str:
    begin, end = points[0][0], points[-1][0]
    span_s = (end - begin).total_seconds()
    low, high = min(value for _, value in points), max(value for _, value in points)
    coordinates = []
    for at, (moment, value) in enumerate(points):
        # The last step is extended beyond the time of the last value, because otherwise its width would be zero.
        share = (moment - begin).total_seconds() / span_s if span_s else at / len(points)
        x = _PAD + share * (WIDTH - 2 * _PAD - 24)
        y = HEIGHT / 2 if high == low else _PAD + (high - value) / (high - low) * (HEIGHT - 2 * _PAD)
        coordinates.append((x, y))
    path = f"M{coordinates[0][0]:.1f} {coordinates[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in coordinates[1:])
    x, y = WIDTH - _PAD, coordinates[-1][1]
    path += f"H{x}"
    area = f"{path}V{HEIGHT - 1}H{coordinates[0][0]:.1f}Z"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
            f'<path d="{area}" fill="#4f8fe6" fill-opacity="0.18"/>'
            f'<path d="{path}" fill="none" stroke="#4f8fe6" stroke-width="2" stroke-linejoin="round"/>'
            f'<circle cx="{x}" cy="{y:.1f}" r="3.5" fill="#4f8fe6"/></svg>')
