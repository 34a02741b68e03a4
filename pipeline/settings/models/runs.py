"""How runs of a spider are retried, made up for, and divided among processes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import Duration, Table, duration_s

MOST_AUTO_PROCESSES = 4
"""The largest number of processes of a run with `processes = "auto"`."""


def _process_count(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 16):
        return value
    raise PydanticCustomError("processes", "{found} is not a number of processes; write \"auto\" or a number from 1 to 16",
                              {"found": repr(value)})


ProcessCount = Annotated[int | Literal["auto"], BeforeValidator(_process_count),
                         WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 16}]})]


def _catch_up(value: object) -> object:
    return None if value is True else 0.0 if value is False else duration_s(value)


CatchUp = Annotated[float | None, BeforeValidator(_catch_up), WithJsonSchema({"type": ["boolean", "string"]})]


class RetryTable(Table):
    """How often a failed run is retried.

    A run that failed because of a wrong password or an error in a rule is not retried.
    """

    times: int = Field(0, ge=0, le=7)
    """Maximum number of retries for one slot."""
    wait: Duration = 60.0
    """Delay before the first retry. The delay doubles with each further retry."""
    max_wait: Duration = 3600.0
    """Maximum delay before a retry."""
    outcomes: tuple[Literal["failed", "timed_out", "killed"], ...] = ("failed", "timed_out", "killed")
    """Outcomes after which a run is retried."""
