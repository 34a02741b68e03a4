"""The result of one check of `pipeline doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import PipelineError


class State(StrEnum):
    """The severity of a finding.

    warning: something works, but should be examined. problem: something does not work, or is not secure.
    """

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    check: name of the check. found: what the check found. fix: how to fix the problem; "" if there is nothing to fix.
    """

    check: str
    state: State
    found: str
    fix: str = ""

    @classmethod
    def of(cls, check: str, error: PipelineError) -> Finding:
        return cls(check, State.PROBLEM, f"{error.where}: {error.what}" if error.where else error.what, error.fix)
