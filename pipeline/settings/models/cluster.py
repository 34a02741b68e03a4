"""The settings table [cluster]: how several nodes share the work on one PostgreSQL database."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.settings.fields.scalars import Table

Dispatcher = Literal["auto", "local", "procrastinate"]


class ClusterTable(Table):
    """How several nodes share the work. Only used with PostgreSQL."""

    dispatcher: Dispatcher = "auto"
    """What hands waiting runs to workers: "procrastinate" (the extra `cluster`), or "local", which looks into the database every few
    seconds. "auto" is procrastinate if the database is PostgreSQL and the extra is installed."""
    node: str = Field("", max_length=120)
    """Name of this node in the status. The default is the name of the machine."""
    queues: tuple[str, ...] = ()
    """Queues whose runs the workers of this node perform. The default is all queues."""
    worker: bool = True
    """Whether `pipeline serve` performs runs itself. If false, only other workers perform them."""
