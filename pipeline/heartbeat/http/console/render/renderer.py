"""Renders the HTML pages, Atom feeds and charts from templates; the pages work without JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.heartbeat.http.atom import xml_text
from pipeline.heartbeat.http.console.render.filters import (
    linked,
    masked,
    percent,
    picture,
    plain,
    short,
    shown_at,
    site_link,
    state_of,
    took,
)
from pipeline.heartbeat.http.console.render.sparkline import sparkline
from pipeline.heartbeat.snapshot.schema import PastRun
from pipeline.languages import PageTexts, page_texts, reasons
from pipeline.model import Run
from pipeline.text import size_for_people, span_for_people, stamp

_TEMPLATES = Path(__file__).parent.parent / "templates"
_STATIC = Path(__file__).parent.parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_JUST_NOW_S = 5.0
_UNITS = ((2 * 86400, 86400, "{n} d"), (3600, 3600, "{n} h"), (60, 60, "{n} min"), (0, 1, "{n} s"))
"""From how many seconds on a span is given in a unit, the length of the unit, and its text."""
_CHARTS = 1000
"""Maximum number of cached charts, enough for 500 spiders."""
FIGURES = ("pages", "pages_failed", "items", "new", "changed", "gone", "back", "downloads", "downloads_failed",
           "waiting", "unchanged", "rejected", "archived_pages", "not_archived")


class PageRenderer:
    """Renders the templates of the pages.

    zone: the time zone of displayed times. language: returns the language of the pages, which a reload of the settings can change.
    Templates get a variable `authorized`: whether the request has the token. The functions `t` and `n` translate texts.
    """

    def __init__(self, zone: tzinfo = UTC, language: Callable[[], str] = lambda: "en") -> None:
        self.zone = zone
        self._language = language
        self._charts: dict[tuple[str, int, int, int], Markup] = {}
        self._templates = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
                                      trim_blocks=True, lstrip_blocks=True)
        self._templates.filters |= {"span": span_for_people, "size": size_for_people, "sparkline": self._sparkline, "took": took, "ago": self._ago, "reason": self._reason,
                                    "percent": percent, "at": self._at, "plain": plain, "masked": masked, "xml": xml_text, "clock": self._clock,
                                    "site_link": site_link, "linked": linked, "short": short, "shown_at": shown_at, "picture": picture}
        self._templates.globals |= {"state_of": state_of, "t": self._text, "n": self._counted, "language": self._language}
        self.static = {path.name: (path.read_text("utf-8"), _TYPES[path.suffix]) for path in sorted(_STATIC.iterdir())}
        """The text and the media type of each style sheet, script and icon, by file name."""

    def render(self, template: str, *, mask: Callable[[str], str], **facts: object) -> str:
        """Return the text that a template produces with the variables in `facts`.

        mask: function that masks secrets; the template filter `plain` applies this function to scraped text.
        """
        return self._templates.get_template(template).render(mask=mask, **facts)

    def locked(self, *, wrong: bool, again: bool = False, page: str = "", ended: bool = False, wait_s: int = 0, lost: bool = False) -> str:
        """Return the page that asks for the token.

        wrong: whether the given one is wrong. ended: whether the browser had a session. wait_s: for how many seconds no token is examined. lost: whether a
        button was pressed, without effect. again: whether the browser is to load the page again at once. page: path of the page that the browser asked for.
        """
        return self._templates.get_template("locked.html").render(
            wrong=wrong, again=again, page=page, ended=ended, wait_s=wait_s, lost=lost, authorized=False)

    def live(self, run: Run, mask: Callable[[str], str]) -> dict[str, Any]:
        """Return the values on a run's pages that change while the run is in progress."""
        progress = run.progress
        return {"state": self._text(state_of(run)), "took": took(run),
                "figures": {name: getattr(progress, name) for name in FIGURES}
                | {"size": size_for_people(progress.download_bytes), "archived": size_for_people(progress.archived_bytes), "changes": progress.new + progress.changed + progress.gone + progress.back},
                "transfers": self.render("runs/_transfers.html", mask=mask, transfers=run.transfers)}

    def _sparkline(self, runs: list[PastRun], figure: str) -> Markup:
        """Return a chart of a spider's last runs, from the cache if possible, because ended runs never change.

        runs: the runs, newest first.
        """
        key = (figure, runs[0]["id"], runs[-1]["id"], len(runs))
        if key not in self._charts:
            if len(self._charts) >= _CHARTS:
                self._charts.clear()
            self._charts[key] = sparkline(runs, figure)
        return self._charts[key]

    def _at(self, moment: datetime | None) -> str:
        return stamp(moment, self.zone) if moment is not None else "–"

    def _clock(self, moment: datetime) -> str:
        return f"{moment.astimezone(self.zone):%H:%M:%S}"

    @property
    def texts(self) -> PageTexts:
        return page_texts(self._language())

    def _text(self, english: str, **values: object) -> str:
        return self.texts.text(english, **values)

    def _counted(self, number: int, what: str) -> str:
        return self.texts.counted(number, what)

    def _ago(self, moment: datetime | str | None, missing: str = "–") -> str | Markup:
        """Return a time as people say it, such as "2 min ago" or "in 3 h", with the exact time as its title."""
        if not moment:
            return missing
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        seconds = (datetime.now(UTC) - at).total_seconds()
        text = _distance(abs(seconds), self.texts)
        said = self._text("{span} ago", span=text) if seconds >= 0 else self._text("in {span}", span=text)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            at.astimezone(UTC).isoformat(timespec="seconds"), stamp(at, self.zone), self._text("just now" if seconds >= 0 else "now") if abs(seconds) < _JUST_NOW_S else said)

    def _reason(self, text: str) -> str:
        """Return a stored English text, such as the error of a run, in the language of the pages."""
        language = self._language()
        return text if language == "en" else reasons(language).translate(text)


def _distance(seconds: float, texts: PageTexts) -> str:
    """Return a span of time in its largest unit, rounded down."""
    number, unit = next((int(seconds // length), unit) for least, length, unit in _UNITS if seconds >= least)
    return texts.text(unit, n=number)
