"""Charts of the last runs of a spider, small enough for a row of the overview."""

from __future__ import annotations

from markupsafe import Markup

from pipeline.heartbeat.snapshot.history import RECENT
from pipeline.heartbeat.snapshot.schema import PastRun

_WIDTH, _HEIGHT = 96, 24


def sparkline(runs: list[PastRun], figure: str) -> Markup:
    """Return a sparkline as SVG, with a bar for each run, the oldest run first: one path for all runs with the same outcome.

    The CSS class of each path is the outcome. runs: the runs, newest first. figure: the value that determines the height of a bar: "items" or
    "duration_s".
    """
    values = [(run["duration_s"] or 0.0) if figure == "duration_s" else run["items"] for run in reversed(runs)]
    top = max(values, default=0) or 1.0
    step = _WIDTH / max(len(runs), RECENT)
    paths: dict[str, str] = {}
    for index, (run, value) in enumerate(zip(reversed(runs), values, strict=True)):
        height = max(1.0, _HEIGHT * value / top)
        paths[run["outcome"]] = f"{paths.get(run['outcome'], '')}M{index * step + 2:.3g} {_HEIGHT}v-{height:.3g}"
    return Markup("").join(Markup('<path class="{}" d="{}"/>').format(outcome, path) for outcome, path in paths.items())
