"""`pipeline status`: request the status of a running service from its heartbeat, and print a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.errors import HeartbeatError, UsageError
from pipeline.heartbeat.client import HeartbeatClient, client_for
from pipeline.heartbeat.token import data_id_of
from pipeline.settings import Settings
from pipeline.settings.fields.scalars import is_loopback
from pipeline.text import counted, size_for_people, span_for_people


def ask_status(settings: Settings) -> dict[str, Any]:
    """Request the status of a running service from its heartbeat, and return the status snapshot.

    Raises HeartbeatError if the heartbeat does not answer correctly, and UsageError if the service uses another data_dir than the
    settings.
    """
    client = client_for(settings)
    answer = client.ask("status")
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise HeartbeatError("the response does not come from the heartbeat of this program", where=str(client),
                             fix="check [heartbeat] in settings.toml") from error
    if not isinstance(found, dict):
        raise HeartbeatError("the response does not come from the heartbeat of this program", where=str(client),
                             fix="check [heartbeat] in settings.toml, and whether you can read the token file in data_dir")
    _refuse_other_data(settings, found, client)
    return found


def _refuse_other_data(settings: Settings, found: dict[str, Any], client: HeartbeatClient) -> None:
    """Raise UsageError if a service on this machine uses another data_dir than the settings."""
    data, folder = found.get("data"), str(settings.data_dir.absolute())
    if not isinstance(data, dict) or not (client.path or is_loopback(client.host)):
        return
    own, other = data_id_of(settings.data_dir), data.get("id")
    if own and other and other != own and data.get("folder") != folder:  # in the same folder, somebody has deleted the token
        raise UsageError(f"this heartbeat belongs to the service with the data_dir {data.get('folder')}, not to a service with the data_dir "
                         f"{folder}", where=str(client), fix="set another [heartbeat] port for one of the two services")


_COLOURS = {"ok": "green", "degraded": "yellow", "failing": "red"}


def status_table(found: dict[str, Any]) -> None:
    """Print a status snapshot as a table."""
    console = Console()
    colour = _COLOURS.get(found["health"], "red")
    console.print(f"[{colour}]{found['health']}[/]  version {found['version']}, since {_short(found['started_at'])}",
                  highlight=False)
    for reason in found["reasons"]:
        console.print(f"  {reason}", markup=False, highlight=False)
    if waiting := found.get("settings", {}).get("waiting_for_restart"):
        console.print(f"  restart the service to apply the changes of {', '.join(waiting)}", markup=False, highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("spider", "health", "last success", "next", "last run"):
        table.add_column(name)
    for name, spider in found["spiders"].items():
        last = spider["last_run"]
        figures = last["progress"] if last else {}
        health = f"[{_COLOURS.get(spider['health'], 'red')}]{spider['health']}[/]"
        table.add_row(name, "paused" if spider["paused"] and spider["health"] == "ok" else f"{health}{', paused' if spider['paused'] else ''}",
                      _short(spider["last_success"]) or "never", _short(spider["next_due"]) or _without_slot(spider),
                      f"{(last['outcome'] or 'running').replace('_', ' ')}: {counted(figures.get('pages', 0), 'page')}, "
                      f"{counted(figures.get('items', 0), 'item')}" if last else "")
    console.print(table, highlight=False)
    if found.get("nodes"):
        console.print(node_table(found["nodes"]), highlight=False)
    if not found.get("store", {}).get("readable", True):
        console.print("runs, outbox and disk: unknown, because the database cannot be read")
        return
    model = found.get("language_model", {})
    if model.get("failing"):
        console.print(f"language model {model['model']} at {model['host']}: {model['last_error']} ({_asked_by(model['last_error_digest'])}, "
                      f"{_short(model['last_error_at'])}); the mails leave without it", markup=False, highlight=False)
    outbox, disk, size = found["outbox"], found["disk"], found.get("store", {}).get("size_bytes")
    refused = f", {counted(outbox['refused'], 'address')} refused" if outbox.get("refused") else ""
    console.print(f"runs now: {len(found['runs'])}   outbox: {outbox['waiting']} waiting, {outbox['parked']} parked{refused}   "
                  f"disk: {size_for_people(disk['free_bytes'] or 0)} free"
                  + (f"   database: {size_for_people(size)}" if size is not None else ""), highlight=False)


def _asked_by(digest: str) -> str:
    return f"digest {digest}" if digest else "asked by a test, such as `check --connect`"


def _without_slot(spider: dict[str, Any]) -> str:
    if not spider["paused"]:
        return "manual"
    until = spider.get("paused_until")
    return f"paused until {_short(until)}" if until else "when resumed"


_SHOWN_SKEW_S = 2.0
"""A clock that is wrong by more than this is shown beside the state of its node."""


def node_table(nodes: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table of the processes of all nodes. nodes: see NodeStatus in the schema of the status snapshot."""
    table = Table(box=None, pad_edge=False)
    for name in ("node", "state", "roles", "runs", "queues", "load", "last seen", "version"):
        table.add_column(name)
    for node in nodes:
        works = "worker" in node["roles"]
        colour = {"alive": "green", "gone": "red"}.get(node["state"], "yellow")
        skew = f", clock {node['clock_skew_s']:+.0f} s" if abs(node["clock_skew_s"]) > _SHOWN_SKEW_S else ""
        table.add_row(escape(node["name"]), f"[{colour}]{node['state']}[/]{skew}",
                      ", ".join(node["roles"]) + (" (leader)" if node["leader"] and node["state"] != "gone" else ""),
                      f"{node['running']} of {node['concurrency']}" if works else "", escape(", ".join(node["queues"])) or ("all" if works else ""),
                      f"{node['load']:.2f}", f"{span_for_people(node['age_s'])} ago", node["version"])
    return table


def _short(instant: str | None) -> str:
    return instant[:19].replace("T", " ") if instant else ""
