"""Find the returned items that a digest has not told yet.

Each time they existed, they were gone again before the next digest.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from pipeline.model import ChangeKind
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import changes, digest_runs

_BATCH = 500


def never_told(store: Store, name: str, run_ids: Sequence[int]) -> set[tuple[str, str]]:
    """Return the spider and the key of each item that is back in these runs, and that no earlier digest `name` told.

    If the oldest changes of an item are no longer stored, the item counts as told.
    """
    returned: dict[str, list[str]] = {}
    with store.read() as connection:
        for spider, key in connection.execute(select(changes.c.spider, changes.c.key).where(
                changes.c.run_id.in_(list(run_ids)), changes.c.kind == ChangeKind.BACK.value).distinct()):
            returned.setdefault(spider, []).append(key)
        # For each item and each earlier digest, the kinds of the first and of the last change that the digest covers.
        spans: dict[tuple[str, str], dict[int, tuple[str, str]]] = {}
        for spider, keys in returned.items():
            for begin in range(0, len(keys), _BATCH):
                wanted = select(changes.c.key, changes.c.kind, digest_runs.c.digest_id).join(
                    digest_runs, (digest_runs.c.run_id == changes.c.run_id) & (digest_runs.c.name == name)).where(
                    changes.c.spider == spider, is_one_of(connection, changes.c.key, keys[begin:begin + _BATCH]),
                    changes.c.run_id < min(run_ids)).order_by(changes.c.id)
                for key, kind, digest_id in connection.execute(wanted):
                    span = spans.setdefault((spider, key), {})
                    span[digest_id] = (span.get(digest_id, (kind,))[0], kind)
    return {item for item, span in spans.items() if next(iter(span.values()))[0] == ChangeKind.NEW.value
            and all(last == ChangeKind.GONE.value for _, last in span.values())}
