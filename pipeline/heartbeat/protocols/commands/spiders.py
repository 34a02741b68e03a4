"""The heartbeat commands `spiders`, `spider NAME` and `next`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pipeline.heartbeat.protocols.commands.command import SnapshotCommand
from pipeline.heartbeat.protocols.commands.runs import run_figures
from pipeline.heartbeat.snapshot.schema import Snapshot, SpiderStatus
from pipeline.settings import nearest
from pipeline.text import quoted


def _spiders(snapshot: Snapshot, argument: str) -> str:
    return "; ".join(f"{name} {found['health']}" + (f", next {found['next_due']}" if found["next_due"] else "")
                     for name, found in snapshot["spiders"].items()) or "no spiders in the settings"


def _spider(snapshot: Snapshot, argument: str) -> str:
    found = snapshot["spiders"].get(argument)
    if found is None:
        known = ", ".join(snapshot["spiders"]) or "none"
        return f"no spider named {argument!r}{nearest(argument, snapshot['spiders'])}; known: {known}" \
            if argument else f"spider NAME; known: {known}"
    return f"{argument} {'; '.join(_facts(found))}"


def _facts(found: SpiderStatus) -> Iterator[str]:
    yield ": ".join(filter(None, (found["health"], ", ".join(found["reasons"]))))
    yield f"last success {found['last_success'] or 'never'}"
    last = found["last_run"]
    if last is not None:
        yield f"last run {last['id']} {last['outcome']} at {last['ended_at']}, {run_figures(last)}"
    if idle := [rule["rule"] for rule in found["rules"] if not rule["matches"]]:
        yield f"no match of {', '.join(idle[:5])}" + (", …" if len(idle) > 5 else "")
    if found["running"]:
        yield f"running now: {', '.join(map(str, found['running']))}"
    if found["paused"]:
        yield paused_words(found)
    else:
        yield f"next {found['next_due']}" if found["next_due"] else "no next slot"
    if found["proxy"]:
        yield f"through proxy {found['proxy']}"


def paused_words(found: SpiderStatus) -> str:
    """Return "paused", with the end and the reason of the pause if there are any."""
    until, reason = found["paused_until"], found["pause_reason"]
    return f"paused{f' until {until}' if until else ''}{f': {quoted(reason)}' if reason else ''}"


def _next(snapshot: Snapshot, argument: str) -> str:
    due = [(datetime.fromisoformat(found["next_due"]), found["next_due"], name)
           for name, found in snapshot["spiders"].items() if found["next_due"]]
    return "; ".join(f"{name} {at}" for _, at, name in sorted(due)) or "no slot is scheduled"


SPIDERS = SnapshotCommand(name="spiders", answer=_spiders, help="every spider with its state and next slot")
SPIDER = SnapshotCommand(name="spider", argument="NAME", answer=_spider,
                         help="one spider: what is wrong, last success, last run, next slot")
NEXT = SnapshotCommand(name="next", answer=_next, help="the next slot of each spider, soonest first")
