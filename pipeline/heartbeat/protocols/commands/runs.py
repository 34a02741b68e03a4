"""The heartbeat command `runs`, and functions that describe the figures of a run in words."""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import SnapshotCommand
from pipeline.heartbeat.snapshot.schema import PastRun, RunStatus, Snapshot
from pipeline.text import counted, size_for_people, span_for_people


def run_figures(run: RunStatus) -> str:
    done = run["progress"]
    text = ", ".join((counted(done["pages"], "page"), counted(done["items"], "item"), counted(done["downloads"], "download")))
    if done["download_bytes"]:
        text += f" ({size_for_people(done['download_bytes'])})"
    return f"{text} in {span_for_people(run['duration_s'])}" if run["duration_s"] is not None else text


def past_run_figures(run: PastRun) -> str:
    text = f"{counted(run['pages'], 'page')}, {counted(run['items'], 'item')}"
    return f"{text} in {span_for_people(run['duration_s'])}" if run["duration_s"] is not None else text


def _runs(snapshot: Snapshot, argument: str) -> str:
    return "; ".join(f"{run['spider']} run {run['id']}: {run_figures(run)}, {run['progress']['waiting']} waiting"
                     for run in snapshot["runs"]) or "no run is running"


RUNS = SnapshotCommand(name="runs", answer=_runs, help="running runs and their progress")
