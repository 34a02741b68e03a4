"""The heartbeat commands `status`, `health` and `version`."""

from __future__ import annotations

import json

from pipeline.heartbeat.protocols.commands.command import SnapshotCommand
from pipeline.heartbeat.snapshot.schema import Snapshot


def status(snapshot: Snapshot, argument: str = "") -> str:
    """Return the snapshot as JSON on one line. The line contains only ASCII and no line break."""
    return json.dumps(snapshot, separators=(",", ":"))


def health(snapshot: Snapshot, argument: str = "") -> str:
    return ": ".join(filter(None, (snapshot["health"], "; ".join(snapshot["reasons"]))))


def _version(snapshot: Snapshot, argument: str) -> str:
    return f"pipeline {snapshot['version']}, status schema {snapshot['schema']}"


STATUS = SnapshotCommand(name="status", answer=status, help="the whole snapshot as one line of JSON")
HEALTH = SnapshotCommand(name="health", answer=health, help="`ok`, `degraded` or `failing`, and the reasons")
VERSION = SnapshotCommand(name="version", answer=_version, help="the versions of the program and of the status schema")
