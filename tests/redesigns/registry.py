"""The operations of a redesign, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.redesigns.page import Page

STAGES = ("items", "records", "structure", "links", "texts", "around", "names", "delivery")
Apply = Callable[[Page], bool]


@dataclass(frozen=True)
class Operation:
    """apply: changes the page and returns whether there was anything to change. group: at most one operation of a group is used."""

    name: str
    stage: str
    group: str
    weight: float
    apply: Apply


OPERATIONS: dict[str, Operation] = {}


def operation(stage: str, *, group: str = "", weight: float = 1) -> Callable[[Apply], Apply]:
    """Register an operation under the name of its function."""
    assert stage in STAGES

    def register(apply: Apply) -> Apply:
        name = getattr(apply, "__name__", "")
        OPERATIONS[name] = Operation(name, stage, group or name, weight, apply)
        return apply

    return register
