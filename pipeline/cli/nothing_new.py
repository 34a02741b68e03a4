"""What the commands say of a digest that has nothing to report."""

from __future__ import annotations

from pipeline.store import Store
from pipeline.store.console.left_out import left_out_count, runs_of_digest
from pipeline.text import counted


def nothing_new(store: Store, name: str, digest_id: int) -> str:
    """Return a line that says why a digest was not sent: nothing is new, or `only_if` leaves it out."""
    left_out = left_out_count(store, name, run_ids=runs_of_digest(store, digest_id, name) or ())
    return f"{name}: no mail, because `only_if` leaves out {counted(left_out, 'change')}" if left_out else f"{name}: nothing new"
