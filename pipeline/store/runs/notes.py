"""Find out whether the line of an earlier run of a spider already has a note."""

from __future__ import annotations

from sqlalchemy import select

from pipeline.model import Run
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import runs


def is_known(store: Store, run: Run, note: str) -> bool:
    """Return whether the last run of the spider with a note that begins like this one, up to a colon, has the same note.

    The run itself is not considered.
    """
    begin = note.partition(":")[0]
    last = select(runs.c.error).where(runs.c.spider == run.spider, runs.c.id != run.id, runs.c.ended_at.is_not(None),
                                      runs.c.error.contains(begin, autoescape=True)).order_by(runs.c.ended_at.desc(), runs.c.id.desc()).limit(1)
    with store.read() as connection:
        return store.mask(note) in (connection.execute(last).scalar() or "")
