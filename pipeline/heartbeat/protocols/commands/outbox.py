"""The heartbeat command `outbox`, which counts the messages in the outbox."""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import SnapshotCommand
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.text import counted, span_for_people


def outbox(snapshot: Snapshot, argument: str = "") -> str:
    found = snapshot["outbox"]
    text = f"{found['waiting']} waiting, {found['parked']} parked"
    if found["refused"]:
        text += f", {counted(found['refused'], 'address')} refused"
    if found["oldest_age_s"] is not None:
        text += f", oldest {span_for_people(found['oldest_age_s'])}"
    return f"{text}; last error: {found['last_error']}" if found["last_error"] else text


OUTBOX = SnapshotCommand(name="outbox", answer=outbox,
                         help="how many messages are waiting and parked, how many addresses were refused for good, the age of the oldest waiting message, the last error")
