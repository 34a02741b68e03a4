"""The rows of the overview: what it shows of each spider, their order, the search and the filters."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from pipeline.heartbeat.snapshot.schema import PastRun, ReasonKind, ReasonStatus, RunStatus, Snapshot, SpiderStatus

ROWS = 100
"""Maximum number of rows on one page."""
SORTS = ("trouble", "name", "next", "last")
STATES = ("failing", "degraded", "paused", "running", "ok")
"""The states by which the overview filters, worst first. A spider that is at work is shown as running only if nothing is wrong with it."""
_LATE = "9999"
"""Comes after every time in ISO 8601."""
_COMMAND = re.compile(r"; see `pipeline outbox`.*")
"""Names a command at the end of a reason; the page has a link instead."""


@dataclass(frozen=True)
class SpiderProblem:
    """Why a spider is not ok.

    detail: the error of the run, until when the host is paused, or the reason in words. path: of the page on which a person can mend it.
    """

    kind: ReasonKind
    detail: str
    path: str


@dataclass(frozen=True)
class OverviewRow:
    """What the overview shows of one spider. state: one of STATES. running: its runs in progress. problems: why it is not ok."""

    name: str
    state: str
    tags: tuple[str, ...]
    spider: SpiderStatus
    running: tuple[RunStatus, ...]
    problems: tuple[SpiderProblem, ...]

    @property
    def recent(self) -> list[PastRun]:
        return self.spider["recent"]

    @property
    def last_at(self) -> str:
        return self.recent[0]["ended_at"] if self.recent else ""

    @property
    def shown(self) -> tuple[object, ...]:
        """Everything that the row shows: it is drawn again when this changes."""
        spider = self.spider
        return (self.state, self.tags, self.problems, self.last_at, spider["next_due"], spider["paused"], spider.get("paused_until"),
                spider["last_success"], tuple((run["id"], run["progress"]["pages"], run["progress"]["items"]) for run in self.running))


@dataclass(frozen=True)
class OverviewQuery:
    """What a person searches for: a text in names and tags, a state, a tag, the order and the page, counted from 1."""

    text: str = ""
    state: str = ""
    tag: str = ""
    sort: str = SORTS[0]
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> OverviewQuery:
        """Return the query of a URL. Values that are not known count as not given."""
        state, sort, page = query.get("state", ""), query.get("sort", ""), query.get("page", "")
        return cls(query.get("q", "").strip()[:100], state if state in STATES else "", query.get("tag", "").strip()[:100],
                   sort if sort in SORTS else SORTS[0], int(page) if page.isascii() and page.isdigit() and 0 < len(page) < 5 else 1)

    def url(self, **changed: str | int) -> str:
        """Return the path of the overview with this query and these changes of it."""
        values: dict[str, str | int] = {"q": self.text, "state": self.state, "tag": self.tag,
                                        "sort": "" if self.sort == SORTS[0] else self.sort, "page": "", **changed}
        query = urlencode({name: value for name, value in values.items() if value})
        return f"/?{query}" if query else "/"

    def finds(self, row: OverviewRow) -> bool:
        text = self.text.casefold()
        return (not self.state or row.state == self.state or (self.state == "running" and bool(row.running))) and (
            not self.tag or self.tag in row.tags) and (not text or text in row.name.casefold() or any(text in tag.casefold() for tag in row.tags))


def rows_of(snapshot: Snapshot, tags: Mapping[str, Collection[str]]) -> list[OverviewRow]:
    """Return a row for each spider of the snapshot. tags: the tags of each spider of the settings."""
    at_work: dict[str, list[RunStatus]] = {}
    for run in snapshot["runs"]:
        at_work.setdefault(run["spider"], []).append(run)
    return [_row(name, spider, tuple(tags.get(name, ())), tuple(at_work.get(name, ()))) for name, spider in snapshot["spiders"].items()]


def _row(name: str, spider: SpiderStatus, tags: tuple[str, ...], running: tuple[RunStatus, ...]) -> OverviewRow:
    state = spider["health"] if spider["health"] != "ok" else "paused" if spider["paused"] else "running" if running else "ok"
    if spider["paused"] and state == "degraded":
        state = "paused"
    return OverviewRow(name, state, tags, spider, running,
                       tuple(_problem(name, problem, text, spider) for problem, text in zip(spider["problems"], spider["reasons"], strict=True)))


def _problem(name: str, problem: ReasonStatus, text: str, spider: SpiderStatus) -> SpiderProblem:
    """Return a problem by the reason for which the snapshot says that the spider is not ok. text: the reason in words."""
    own, kind = f"/spiders/{quote(name)}", problem["kind"]
    if kind == "late":
        return SpiderProblem(kind, "", own)
    if kind in ("proposed", "suspect"):
        return SpiderProblem(kind, problem["detail"], f"{own}/mend" if kind == "proposed" else f"{own}#rules")
    if kind == "failed":
        last = next((run for run in spider["recent"] if run["outcome"] not in ("succeeded", "stopped")), None)
        return SpiderProblem(kind, problem["detail"], f"/runs/{last['id']}" if last is not None else own)
    return SpiderProblem(kind, text if kind == "archive" else problem["detail"], own)


def sorted_rows(rows: list[OverviewRow], sort: str) -> list[OverviewRow]:
    """Return the rows in the order of SORTS: what is in trouble, by name, what runs next, or what ran last."""
    by_name = sorted(rows, key=lambda row: row.name)
    if sort == "next":
        return sorted(by_name, key=lambda row: row.spider["next_due"] or _LATE)
    if sort == "last":
        return sorted(by_name, key=lambda row: row.last_at, reverse=True)
    if sort == "trouble":
        return sorted(by_name, key=lambda row: (STATES.index(row.state), -row.spider["failures_in_a_row"]))
    return by_name


def other_reasons(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return what is wrong apart from the spiders, each with the path of the page that helps; "" if none does."""
    of_spiders = {f"{name}: {reason}" for name, spider in snapshot["spiders"].items() for reason in spider["reasons"]}
    return [(_COMMAND.sub("", reason), "/outbox" if reason.startswith("outbox") else "/digests" if reason.startswith("digest") else "")
            for reason in snapshot["reasons"] if reason not in of_spiders]
