"""The table of a spider that came by the pages or the API: its problems, and how it was saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError


@dataclass(frozen=True)
class DraftProblem:
    """A problem of a draft. key: dotted key, or "" for the whole text. line: its line in the text, from 1, if known. warning: whether the draft can be saved."""

    key: str
    text: str
    line: int | None = None
    warning: bool = False

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{place}{self.key + ': ' if self.key else ''}{self.text}"


@dataclass(frozen=True)
class DraftReport:
    """The result of a check. name: the name of the spider, "" if the text has none. file: the path of its file. is_taken: whether there is one of this name."""

    name: str
    file: str
    problems: tuple[DraftProblem, ...]
    is_taken: bool = False

    @property
    def is_valid(self) -> bool:
        return all(problem.warning for problem in self.problems)


class InvalidDraftError(UsageError):
    """A draft cannot be tried or saved. report: why not."""

    def __init__(self, report: DraftReport) -> None:
        self.report = report
        super().__init__("; ".join(str(problem) for problem in report.problems if not problem.warning)[:500], where="toml")


class NotWritableError(UsageError):
    """A draft is valid, but its file cannot be written by the service. file: the path of the file that should have the text."""

    def __init__(self, what: str, file: str) -> None:
        self.file = file
        super().__init__(what, where=file, fix="write the text to this file on the machine of the service, and reload the settings")


@dataclass(frozen=True)
class SavedSpider:
    """A table that was saved. changed, waiting, problems: see ReloadReport. warnings: what the check warned of. copy: path of the file as it was before; "" if it is new."""

    name: str
    file: str
    changed: tuple[str, ...]
    waiting: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[DraftProblem, ...] = ()
    copy: str = ""


@dataclass(frozen=True)
class SpiderSource:
    """Where the table of a spider is. file: as messages name it. text: the text of the file; None if it cannot be edited here. version: a hash of
    the file. why_not: why it cannot be edited here."""

    file: str
    line: int | None
    text: str | None = None
    version: str = ""
    why_not: str = ""


def problems_of(found: Sequence[dict[str, Any]]) -> tuple[DraftProblem, ...]:
    """Return the problems in the result of pipeline.cli.settings_check.draft."""
    return tuple(DraftProblem(**each) for each in found)
