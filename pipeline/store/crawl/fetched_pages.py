"""What the fetched pages of a pass show: refusals, bodies that became empty, the progress already committed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from sqlalchemy import func, select

from pipeline.hosts import place_of
from pipeline.model import ChangeKind, Progress, Run
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import (
    changes,
    pages,
    passes,
    rejects,
)

NO_REFUSALS = (404, 408, 410, 425, 429)
"""Client errors that say that there is no such page, or not now."""


def refused(store: Store, run: Run) -> tuple[dict[tuple[int, str], int], bool]:
    """How many pages of the pass were refused, by status and host; whether an earlier pass was given some of them.

    A refusal is any 4xx that neither passes nor says that there is no such page: 401, 403, also a firewall's 405 or 418.
    """
    with store.read() as connection:
        found = connection.execute(select(pages.c.url, pages.c.status).where(
            pages.c.pass_id == run.pass_id, pages.c.status.between(400, 499),
            pages.c.status.not_in(NO_REFUSALS)).distinct()).all()
        if not found:
            return {}, False
        given = connection.execute(select(pages.c.id).join(passes, passes.c.id == pages.c.pass_id).where(
            passes.c.spider == run.spider, passes.c.id < run.pass_id, pages.c.status < 400,
            is_one_of(connection, pages.c.url, [row.url for row in found])).limit(1)).first()
    return Counter((row.status, place_of(row.url)) for row in found), given is not None


def came_empty(store: Store, run: Run) -> list[str]:
    """The pages of the pass that had no body, and had items in an earlier pass: a script that failed looks like that."""
    with store.read() as connection:
        found = connection.execute(select(pages.c.url).where(
            pages.c.pass_id == run.pass_id, pages.c.status < 400, pages.c.size_bytes == 0).distinct()).scalars().all()
        if not found:
            return []
        return list(connection.execute(select(pages.c.url).join(passes, passes.c.id == pages.c.pass_id).where(
            passes.c.spider == run.spider, passes.c.id < run.pass_id, pages.c["items"] > 0,
            is_one_of(connection, pages.c.url, found)).distinct().order_by(pages.c.url)).scalars())


def progress_so_far(store: Store, run: Run) -> Progress:
    """What a run has committed, for a process that goes on in place of one that was ended before it could say."""
    figures = replace(run.progress)
    with store.read() as connection:
        of_it = connection.execute(select(func.count(), func.coalesce(func.sum(pages.c["items"]), 0)).where(
            pages.c.run_id == run.id)).one()
        kinds: dict[str, int] = dict(connection.execute(select(changes.c.kind, func.count()).where(
            changes.c.run_id == run.id).group_by(changes.c.kind)).tuples().all())
        figures.rejected = connection.execute(select(func.count()).select_from(rejects).where(
            rejects.c.run_id == run.id)).scalar_one()
    figures.pages, figures.items = int(of_it[0]), int(of_it[1])
    figures.new, figures.changed, figures.back = (kinds.get(kind, 0) for kind in (ChangeKind.NEW, ChangeKind.CHANGED, ChangeKind.BACK))
    figures.unchanged = max(0, figures.items - figures.new - figures.changed - figures.back)
    return figures
