"""Draw charts of a numeric field over time: a small PNG picture for the mail, and an alternative text.

A chart is a line of steps, because a value stays the same until it changes. The axis begins at zero, and the area below the line is
filled, unless the values differ so little that their differences could not be seen then: that axis has a mark, and nothing is filled. A
chart contains no letters and therefore needs no font; the mail writes the values and dates of the axes beside it. The colours can be seen
on light and dark backgrounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from pipeline.display import dates
from pipeline.display.figures import figure_of
from pipeline.display.formats import FieldRules, Formatter
from pipeline.errors import UsageError
from pipeline.languages import Wording
from pipeline.mail.filters import number
from pipeline.mail.message.compose import Picture
from pipeline.model import Change, ChangeKind, Json
from pipeline.price import same_currency
from pipeline.store import Store
from pipeline.store.mail import digests as stored
from pipeline.text import clean_line

WIDTH, HEIGHT = 240, 64
"""Width and height of a chart in the mail, in CSS pixels. The PNG has twice this size, for high-resolution screens."""
MAX_ITEMS = 12
"""Maximum number of items with charts in a mail."""
_MAX_POINTS = 400
_PAD = 6
_LONGEST = 24
_FROM_ZERO = 0.6
"""If the lowest value is at most this share of the highest, the axis begins at zero."""
_LINE, _AXIS = "#4f8fe6", "#8a96a3"
Points = list[tuple[datetime, float]]
Values = list[tuple[datetime, Json]]


@dataclass(frozen=True)
class Chart:
    """The picture of a chart, its alternative text, and the texts at its axes.

    label: the name of the field. top, bottom: the values at the upper and the lower end of the axis. begin, end: the dates of the first
    and of the last value.
    """

    picture: Picture
    alt: str
    label: str
    top: str
    bottom: str
    begin: str
    end: str

    @property
    def cid(self) -> str:
        return f"cid:{self.picture.name}"

    @property
    def width(self) -> int:
        return WIDTH

    @property
    def height(self) -> int:
        return HEIGHT


def charts_of(store: Store, changes: Sequence[Change], fields: Sequence[str], *, rules: Mapping[str, FieldRules], words: Wording,
              zone: tzinfo, seed: str) -> dict[int, list[Chart]]:
    """Return the charts of each change, by the change's id: a chart for each of `fields` that changed.

    Only the first MAX_ITEMS changes have charts. rules: by spider, how its fields are shown. seed: text that makes the Content-IDs of the
    pictures unique. Raises UsageError if the extra `charts` is not installed.
    """
    found: dict[int, list[Chart]] = {}
    texts = _Texts(words, zone)
    wanted = [change for change in changes if any(name in fields for name in change.fields)][:MAX_ITEMS]
    for spider in dict.fromkeys(change.spider for change in wanted):
        own = [change for change in wanted if change.spider == spider]
        histories: dict[str, list[Change]] = {}
        for past in stored.change_history(store, spider, [change.key for change in own]):
            histories.setdefault(past.key, []).append(past)
        own_rules = rules.get(spider, FieldRules())
        for change in own:
            for name in fields:
                if name in own_rules.display.hide or name not in change.fields:
                    continue
                values = _values(histories.get(change.key, []), name, until=change)
                if len(values) > 1:
                    points = [(at, _number(value)) for at, value in values]
                    picture = Picture(f"chart-{change.id}-{len(found.get(change.id, ()))}@{seed}", draw(points))
                    found.setdefault(change.id, []).append(texts.chart(picture, name, values, own_rules))
    return found


def _values(history: Sequence[Change], field: str, *, until: Change) -> Values:
    """Return the last `_MAX_POINTS` values of an item's field, each with the time at which it was found.

    history: the changes of the item, oldest first. until: the last change to include. Prices in another currency, and numbers with another
    unit, than the last value are left out.
    """
    values: Values = []
    for change in history:
        if change.id > until.id:
            break
        if not values and change.kind is ChangeKind.CHANGED and number(change.before.get(field)) is not None:
            values.append((change.at, change.before[field]))  # it is unknown since when the item has had this value
        if change.kind is not ChangeKind.GONE and number(change.after.get(field)) is not None:
            values.append((change.at, change.after[field]))
    return [(at, value) for at, value in values[-_MAX_POINTS:] if same_currency(value, values[-1][1]) and _unit(value) == _unit(values[-1][1])]


def _unit(value: Json) -> str:
    """Return the unit of a text with one number, such as "1 GB" or "from £5"; "" for other values."""
    figure = figure_of(value, strict=False) if isinstance(value, str) else None
    return (figure.unit or "") if figure is not None else ""


class _Texts:
    """Writes the values and the dates of charts in the language and the time zone of a mail."""

    def __init__(self, words: Wording, zone: tzinfo) -> None:
        self._words = words
        self._zone = zone
        self._formatter = Formatter(words, zone)

    def chart(self, picture: Picture, field: str, values: Values, rules: FieldRules) -> Chart:
        """Return a chart with its texts. Values are written as everywhere in the mail: a price as the site writes it."""
        def text(value: Json) -> str:
            return clean_line(self._formatter.shown(value, rules.format_of(field)).text, _LONGEST)

        alone = [value for _, value in values]
        low, high = min(alone, key=_number), max(alone, key=_number)
        begin, end = self._dates(values[0][0], values[-1][0])
        label = rules.label_of(field)
        alt = self._words.chart.format(field=label, start=begin, first=text(alone[0]), last=text(alone[-1]), low=text(low), high=text(high))
        bottom, top = axis_of(_number(low), _number(high))
        return Chart(picture, alt, label, text(high) if top else "0", text(low) if bottom else "0", begin, end)

    def _dates(self, begin: datetime, end: datetime) -> tuple[str, str]:
        """Return two dates as text. If both are on the same day, the first has the time, and the second is only a time: both fit below a chart."""
        first, last = (dates.written(at, self._words.lang, self._zone, day_only=True) for at in (begin, end))
        if first != last:
            return first, last
        return dates.written(begin, self._words.lang, self._zone), dates.clock(end, self._words.lang, self._zone)


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


def axis_of(low: float, high: float) -> tuple[float, float]:
    """Return the values at the ends of the axis. If one of them is not `low` or `high`, it is zero.

    low, high: the lowest and the highest value.
    """
    if 0 <= low <= _FROM_ZERO * high:
        return 0.0, high
    if 0 <= -high <= _FROM_ZERO * -low:
        return low, 0.0
    return low, high


def _svg(points: Points) -> str:
    begin, end = points[0][0], points[-1][0]
    span_s = (end - begin).total_seconds()
    bottom, top = axis_of(min(value for _, value in points), max(value for _, value in points))

    def y_of(value: float) -> float:
        return HEIGHT / 2 if top == bottom else _PAD + (top - value) / (top - bottom) * (HEIGHT - 2 * _PAD)

    coordinates = []
    for at, (moment, value) in enumerate(points):
        # The last step is extended beyond the time of the last value, because otherwise its width would be zero.
        share = (moment - begin).total_seconds() / span_s if span_s else at / len(points)
        coordinates.append((_PAD + share * (WIDTH - 2 * _PAD - 24), y_of(value)))
    path = f"M{coordinates[0][0]:.1f} {coordinates[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in coordinates[1:]) + f"H{WIDTH - _PAD}"
    has_zero = bottom <= 0 <= top
    drawn = f'<path d="{path}V{y_of(0):.1f}H{_PAD}Z" fill="{_LINE}" fill-opacity="0.18"/>' if has_zero else ""
    for value in dict.fromkeys((top, bottom, 0.0 if has_zero else bottom)):
        dashes = "" if value == 0 else ' stroke-dasharray="2 3"'
        drawn += f'<path d="M{_PAD} {y_of(value):.1f}H{WIDTH - _PAD}" stroke="{_AXIS}" stroke-width="1" stroke-opacity="0.7"{dashes}/>'
    if not has_zero:  # the mark of an axis that does not begin at zero
        y = HEIGHT - 1
        drawn += f'<path d="M{_PAD} {y - 9}l-4 3l8 3l-4 3" fill="none" stroke="{_AXIS}" stroke-width="1.5" stroke-linejoin="round"/>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">{drawn}'
            f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="2" stroke-linejoin="round"/>'
            f'<circle cx="{WIDTH - _PAD}" cy="{coordinates[-1][1]:.1f}" r="3.5" fill="{_LINE}"/></svg>')
