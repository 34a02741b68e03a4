"""The options --until and --for of commands that pause something."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

import click


def end_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--for", "lasts", metavar="DURATION", help='How long, such as "2h" or "7d".')(command)
    return click.option("--until", metavar="TIME", help='Until when, in the time zone of the settings: "2026-12-06", "2026-12-06 09:00" or "09:00".')(command)


def end_of(until: str | None, lasts: str | None, *, now: datetime, zone: tzinfo) -> datetime | None:
    """Return the end that --until or --for gives; None if neither was given. Raises click.UsageError."""
    from pipeline.settings.fields.ends import parse_end
    if until is not None and lasts is not None:
        raise click.UsageError("give --until or --for, not both")
    if until is None and lasts is None:
        return None
    try:
        return parse_end(until or lasts or "", now=now, zone=zone)
    except ValueError as error:
        raise click.UsageError(f"{'--until' if until is not None else '--for'}: {error}") from error
