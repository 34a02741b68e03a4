"""The heartbeat command `downloads`, which lists downloads in progress and counts all other downloads."""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import SnapshotCommand
from pipeline.heartbeat.snapshot.schema import Snapshot, TransferStatus
from pipeline.text import size_for_people, span_for_people

_MOST_FILES = 8
"""Maximum number of downloads that one answer lists."""


def _downloads(snapshot: Snapshot, argument: str) -> str:
    active = snapshot["downloads"]["active"]
    if not active:
        return download_counts(snapshot)
    rate = size_for_people(sum(each["rate_bytes_s"] for each in active))
    files = [f"{each['spider']} {_transfer(each)}" for each in active[:_MOST_FILES]]
    if len(active) > _MOST_FILES:
        files.append(f"and {len(active) - _MOST_FILES} more")
    return f"{download_counts(snapshot)}; {len(active)} active at {rate}/s: {'; '.join(files)}"


def download_counts(snapshot: Snapshot) -> str:
    return f"{snapshot['downloads']['waiting']} waiting, {snapshot['downloads']['failed']} failed"


def _transfer(file: TransferStatus) -> str:
    text = f"{file['name']} {size_for_people(file['done_bytes'])}"
    if file["total_bytes"] is not None:
        text += f" of {size_for_people(file['total_bytes'])}"
    text += f" at {size_for_people(file['rate_bytes_s'])}/s"
    return f"{text}, {span_for_people(file['left_s'])} left" if file["left_s"] is not None else text


DOWNLOADS = SnapshotCommand(
    name="downloads", answer=_downloads,
    help="how many downloads are waiting and failed; the progress, rate and time left of each active download")
