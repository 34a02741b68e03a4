"""The words a client can send, and the one line each is answered with.

Every word is a function of the one snapshot, so nothing it says can differ from `status`. To add a word: one
function and one line in `WORDS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pipeline.heartbeat.snapshot.schema import PastRun, RunStatus, Snapshot, SpiderStatus, TransferStatus
from pipeline.settings import nearest
from pipeline.text import escape_line, size_for_people, span_for_people

_MOST_FILES = 8
"""Files under way that one answer names."""

Answer = Callable[[Snapshot, str], str]


@dataclass(frozen=True)
class Word:
    """argument: its name in `help`, "" when the word takes none."""

    answer: Answer
    argument: str = ""


def status(snapshot: Snapshot, argument: str = "") -> str:
    """One line of JSON in ASCII: no character in it can end a line or move a cursor."""
    return json.dumps(snapshot, separators=(",", ":"))


def health(snapshot: Snapshot, argument: str = "") -> str:
    return ": ".join(filter(None, (snapshot["health"], "; ".join(snapshot["reasons"]))))


def _spiders(snapshot: Snapshot, argument: str) -> str:
    return "; ".join(f"{name} {found['health']}" + (f", next {found['next_due']}" if found["next_due"] else "")
                     for name, found in snapshot["spiders"].items()) or "no spiders in the settings"


def _spider(snapshot: Snapshot, argument: str) -> str:
    found = snapshot["spiders"].get(argument)
    if found is None:
        known = ", ".join(snapshot["spiders"]) or "none"
        return f"no spider named {argument!r}{nearest(argument, snapshot['spiders'])}; known: {known}" \
            if argument else f"spider NAME; known: {known}"
    return f"{argument} {'; '.join(_about(found))}"


def _about(found: SpiderStatus) -> Iterator[str]:
    yield ": ".join(filter(None, (found["health"], ", ".join(found["reasons"]))))
    yield f"last success {found['last_success'] or 'never'}"
    last = found["last_run"]
    if last is not None:
        yield f"last run {last['id']} {last['outcome']} at {last['ended_at']}, {_figures(last)}"
    if found["running"]:
        yield f"running now: {', '.join(map(str, found['running']))}"
    if found["paused"]:
        yield "paused"
    else:
        yield f"next {found['next_due']}" if found["next_due"] else "no next slot"
    if found["proxy"]:
        yield f"by proxy {found['proxy']}"


def _figures(run: RunStatus) -> str:
    done = run["progress"]
    text = f"{done['pages']} pages, {done['items']} items, {done['downloads']} downloads"
    if done["download_bytes"]:
        text += f" ({size_for_people(done['download_bytes'])})"
    return f"{text} in {span_for_people(run['duration_s'])}" if run["duration_s"] is not None else text


def _in_short(run: PastRun) -> str:
    text = f"{run['pages']} pages, {run['items']} items"
    return f"{text} in {span_for_people(run['duration_s'])}" if run["duration_s"] is not None else text


def _runs(snapshot: Snapshot, argument: str) -> str:
    return "; ".join(f"{run['spider']} run {run['id']}: {_figures(run)}, {run['progress']['waiting']} waiting"
                     for run in snapshot["runs"]) or "no run at work"


def _next(snapshot: Snapshot, argument: str) -> str:
    due = [(datetime.fromisoformat(found["next_due"]), found["next_due"], name)
           for name, found in snapshot["spiders"].items() if found["next_due"]]
    return "; ".join(f"{name} {at}" for _, at, name in sorted(due)) or "no slot is scheduled"


def _outbox(snapshot: Snapshot, argument: str) -> str:
    outbox = snapshot["outbox"]
    text = f"{outbox['waiting']} waiting, {outbox['parked']} parked"
    if outbox["oldest_age_s"] is not None:
        text += f", oldest {span_for_people(outbox['oldest_age_s'])}"
    return f"{text}; last error: {outbox['last_error']}" if outbox["last_error"] else text


def _downloads(snapshot: Snapshot, argument: str) -> str:
    active = snapshot["downloads"]["active"]
    if not active:
        return _counted(snapshot)
    rate = size_for_people(sum(each["rate_bytes_s"] for each in active))
    files = [f"{each['spider']} {_transfer(each)}" for each in active[:_MOST_FILES]]
    if len(active) > _MOST_FILES:
        files.append(f"and {len(active) - _MOST_FILES} more")
    return f"{_counted(snapshot)}; {len(active)} under way at {rate}/s: {'; '.join(files)}"


def _counted(snapshot: Snapshot) -> str:
    return f"{snapshot['downloads']['waiting']} waiting, {snapshot['downloads']['failed']} failed"


def _transfer(file: TransferStatus) -> str:
    text = f"{file['name']} {size_for_people(file['done_bytes'])}"
    if file["total_bytes"] is not None:
        text += f" of {size_for_people(file['total_bytes'])}"
    text += f" at {size_for_people(file['rate_bytes_s'])}/s"
    return f"{text}, {span_for_people(file['left_s'])} left" if file["left_s"] is not None else text


def _proxies(snapshot: Snapshot, argument: str) -> str:
    resting = {each["proxy"]: each["until"] for each in snapshot.get("resting_proxies", [])}

    def shown(url: str) -> str:
        return f"{url} (rests until {resting[url]})" if url in resting else url
    return "; ".join(f"{name} {', '.join(map(shown, urls))}" for name, urls in snapshot["proxies"].items()) or "no proxies"


def _version(snapshot: Snapshot, argument: str) -> str:
    return f"pipeline {snapshot['version']}, status schema {snapshot['schema']}"


WORDS = {
    "status": Word(status), "health": Word(health), "spiders": Word(_spiders), "spider": Word(_spider, "NAME"),
    "runs": Word(_runs), "next": Word(_next), "outbox": Word(_outbox), "downloads": Word(_downloads),
    "proxies": Word(_proxies), "version": Word(_version),
}
"""Answered from the snapshot. `ping`, `time`, `help`, `watch`, `token` and `quit` belong to the connection."""

HELP = "one word a line: ping, time, " + ", ".join(
    f"{name} {word.argument}".strip() for name, word in WORDS.items()
) + ", watch, token TOKEN, help, quit; any other text comes back as [timestamp] text"


def parsed(text: str) -> tuple[Word, str] | None:
    """The word `text` asks for and its argument; None when it is no word of ours, and so an echo."""
    name, _, argument = text.strip().partition(" ")
    word = WORDS.get(name)
    if word is None or (argument and not word.argument):
        return None
    return word, argument.strip()


def answered(word: Word, snapshot: Snapshot, argument: str) -> str:
    """The answer, as one line whatever scraped text it quotes."""
    return escape_line(word.answer(snapshot, argument))


def changes(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """What `watch` tells of between two snapshots, one line each."""
    if (before["health"], before["reasons"]) != (after["health"], after["reasons"]):
        yield f"health {health(after)}"
    was = {run["id"]: run for run in before["runs"]}
    now = {run["id"]: run for run in after["runs"]}
    for run_id, run in now.items():
        if run_id not in was:
            yield f"run {run_id} of {run['spider']} started"
        elif was[run_id]["progress"] != run["progress"]:
            yield f"run {run_id} of {run['spider']}: {_figures(run)}, {run['progress']['waiting']} waiting"
    for name, found in after["spiders"].items():
        told = {run["id"] for run in before["spiders"][name]["recent"]} if name in before["spiders"] else set()
        for past in reversed(found["recent"]):
            if past["id"] not in told:
                yield f"run {past['id']} of {name} {past['outcome']}: {past['error'] or _in_short(past)}"
    if _settled(before) != _settled(after):
        yield f"outbox {_outbox(after, '')}"
    if _counted(before) != _counted(after):
        yield f"downloads {_counted(after)}"


def _settled(snapshot: Snapshot) -> tuple[int, int, str]:
    outbox = snapshot["outbox"]
    return outbox["waiting"], outbox["parked"], outbox["last_error"]
