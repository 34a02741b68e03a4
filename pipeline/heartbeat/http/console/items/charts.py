"""Charts of the numbers of one item over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from pipeline.display.field_text import field_text
from pipeline.model import Change, ChangeKind, Json
from pipeline.price import amount_of
from pipeline.settings import DisplayTable

_WIDTH, _HEIGHT, _PAD = 640, 160, 8
_FROM_ZERO = 0.6
"""If the lowest value is at most this share of the highest, the axis of a chart begins at zero, as in digests."""


@dataclass(frozen=True)
class FieldChart:
    """The chart of a number over time. low, high: texts of the extremes. begin, end: of the first and the last value."""

    label: str
    svg: Markup
    low: str
    high: str
    first: str
    last: str
    begin: datetime
    end: datetime


def charts_of(history: Sequence[Change], display: DisplayTable, label_of: Callable[[str], str]) -> list[FieldChart]:
    """Return a chart of each field with numbers that changed. history: the changes of one item, oldest first."""
    names = dict.fromkeys(name for change in history if change.kind is ChangeKind.CHANGED for name in change.fields if name not in display.hide)
    return [chart for name in names if (chart := _chart(history, name, label_of(name))) is not None]


def _chart(history: Sequence[Change], name: str, label: str) -> FieldChart | None:
    values: list[tuple[datetime, Json]] = []
    for change in history:
        if not values and change.kind is ChangeKind.CHANGED and amount_of(change.before.get(name)) is not None:
            values.append((change.at, change.before[name]))  # it is unknown since when the item has had this value
        if change.kind is not ChangeKind.GONE and amount_of(change.after.get(name)) is not None:
            values.append((change.at, change.after[name]))
    points = [(at, float(amount)) for at, value in values if (amount := amount_of(value)) is not None]
    if len(points) < 2:
        return None
    low, high = min(values, key=lambda each: _number(each[1])), max(values, key=lambda each: _number(each[1]))
    return FieldChart(label, _svg(points), field_text(low[1]), field_text(high[1]), field_text(values[0][1]), field_text(values[-1][1]), points[0][0], points[-1][0])


def _number(value: Json) -> float:
    return float(amount_of(value) or 0)


def _svg(points: Sequence[tuple[datetime, float]]) -> Markup:
    """Return the paths of a line of steps, because a value stays the same until it changes; the area below is filled if the axis has a zero."""
    begin, span_s = points[0][0], (points[-1][0] - points[0][0]).total_seconds()
    bottom, top = min(value for _, value in points), max(value for _, value in points)
    bottom = 0.0 if 0 <= bottom <= _FROM_ZERO * top else bottom

    def y_of(value: float) -> float:
        return _HEIGHT / 2 if top == bottom else _PAD + (top - value) / (top - bottom) * (_HEIGHT - 2 * _PAD)

    drawn = ""
    for number, (at, value) in enumerate(points):
        share = (at - begin).total_seconds() / span_s if span_s else number / len(points)
        x = _PAD + share * (_WIDTH - 2 * _PAD - 40)  # the last step is extended beyond the time of the last value
        drawn += f"H{x:.1f}V{y_of(value):.1f}" if drawn else f"M{x:.1f} {y_of(value):.1f}"
    drawn += f"H{_WIDTH - _PAD}"
    area = Markup('<path class="area" d="{}V{}H{}Z"/>').format(drawn, f"{y_of(0):.1f}", _PAD) if bottom == 0.0 else Markup("")
    return area + Markup('<path class="line" d="{}"/>').format(drawn)
