"""The heartbeat commands `status`, `health` and `version`."""

from __future__ import annotations

import json

from pipeline.heartbeat.protocols.commands.command import SnapshotCommand
from pipeline.heartbeat.snapshot.schema import Snapshot


def status(snapshot: Snapshot, argument: str = "") -> str:
    """Return the snapshot as JSON on one line. The line contains only ASCII and no line break.

    Each spider is serialized by a call of its own, because a call does not let other threads run, such as the event loop's.
    """
    spiders = ",".join(f"{_json(name)}:{_json(spider)}" for name, spider in snapshot["spiders"].items())
    return "{" + ",".join(f"{_json(key)}:" + (f"{{{spiders}}}" if key == "spiders" else _json(value)) for key, value in snapshot.items()) + "}"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def health(snapshot: Snapshot, argument: str = "") -> str:
    return ": ".join(filter(None, (snapshot["health"], "; ".join(snapshot["reasons"]))))


def _version(snapshot: Snapshot, argument: str) -> str:
    return f"pipeline {snapshot['version']}, status schema {snapshot['schema']}"


STATUS = SnapshotCommand(name="status", answer=status, large=True, help="the whole snapshot as one line of JSON")
HEALTH = SnapshotCommand(name="health", answer=health, help="`ok`, `degraded` or `failing`, and the reasons")
VERSION = SnapshotCommand(name="version", answer=_version, help="the versions of the program and of the status schema")
