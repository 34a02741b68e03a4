"""Describe a run in one line for terminals, logs and commands: its progress and how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.model import Run, Transfer, together
from pipeline.text import counted, size_for_people, span_for_people


def progress_line(run: Run) -> str:
    """Return the progress of a run in one line, such as "12 pages, 34 items, 2 new"."""
    progress = run.progress
    parts = [counted(progress.pages, "page"), counted(progress.items, "item")]
    parts += [f"{count} {kind}" for kind in ("new", "changed", "gone", "back") if (count := getattr(progress, kind))]
    if progress.rejected:
        parts.append(f"{progress.rejected} rejected")
    if progress.pages_failed:
        parts.append(f"{counted(progress.pages_failed, 'page')} failed")
    if progress.downloads or progress.download_bytes:
        parts.append(f"{counted(progress.downloads, 'file')} ({size_for_people(progress.download_bytes)})")
    if progress.downloads_unchanged:
        parts.append(f"{counted(progress.downloads_unchanged, 'file')} unchanged")
    if progress.downloads_failed:
        parts.append(f"{counted(progress.downloads_failed, 'file')} failed")
    if progress.archived_pages:
        parts.append(f"{counted(progress.archived_pages, 'page')} archived ({size_for_people(progress.archived_bytes)})")
    if run.transfers:
        parts.append(_under_way(run.transfers))
    return ", ".join(parts)


def ended_line(run: Run) -> str:
    """Return how a run ended in one line: outcome, duration, progress and error."""
    took = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else 0.0
    outcome = run.outcome.value.replace("_", " ") if run.outcome else "running"
    flags = ", suspect" if run.suspect else ""
    reason = f": {run.error}" if run.error else ""
    if run.started_at is None:  # the slot was skipped
        return f"{run.spider} run {run.id}: {outcome}{reason}"
    return f"{run.spider} run {run.id}: {outcome} after {_time_taken(took)} ({progress_line(run)}{flags}){reason}"


def _time_taken(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else span_for_people(seconds)


def _under_way(transfers: Sequence[Transfer]) -> str:
    all_of_them = together(transfers)
    size = size_for_people(all_of_them.done_bytes)
    if all_of_them.total_bytes is not None:
        size += f" of {size_for_people(all_of_them.total_bytes)}"
    return " ".join(filter(None, (f"{len(transfers)} downloading ({size})", *speed(all_of_them.rate_bytes_s, all_of_them.left_s))))


def speed(rate_bytes_s: float, seconds: float | None) -> tuple[str, str]:
    """Return the rate and the remaining time of a download as two texts; "" for an unknown value."""
    return (f"{size_for_people(rate_bytes_s)}/s" if rate_bytes_s else "",
            f"{span_for_people(seconds)} left" if seconds is not None else "")
