"""The last lines of a run's log for an alert: plain text, with the times in the reader's zone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

TAIL_LINES = 25
_TAIL_BYTES = 65_536
_LONGEST = 300
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""A control sequence of a terminal (ECMA-48, 5.4; operating system commands end with BEL or ST)."""
_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line \d+')
_PACKAGES = re.compile(r"(?<!\S)\S*/(?:site-packages|dist-packages|lib/python3\.\d+)/")


def tail(log: Path, zone: tzinfo, folders: Sequence[Path] = (), mask: Callable[[str], str] = lambda text: text) -> str:
    """Return the last lines of a log, at most `TAIL_LINES`; "" if there is no log.

    A line of JSON is shown as its time in `zone`, its level if it is a warning or an error, and its message. A traceback is shown
    without the frames that are not the user's. folders: the folders that paths are shown relative to. mask: masks
    secrets; it is applied before a long line is cut, because a part of a secret would not be masked.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""  # the run's process was killed before it wrote any log line
    shown = [line for raw in lines[1 if size > _TAIL_BYTES else 0:] for line in _shown(raw, zone, folders)]
    return "\n".join(mask(line)[:_LONGEST] for line in shown[-TAIL_LINES:])


def _shown(raw: str, zone: tzinfo, folders: Sequence[Path]) -> Iterator[str]:
    try:
        entry = json.loads(raw)
    except ValueError:
        entry = None
    yield from (_short(line, folders) for line in (_of_entry(entry, zone, folders) if isinstance(entry, dict) and "message" in entry else [raw]))


def _of_entry(entry: dict[str, Any], zone: tzinfo, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of an entry that `pipeline.logs.JsonLines` has written. The engine's notes of its start and end are left out."""
    level = entry.get("level")
    if level == "info" and entry.get("part") == "scrapy.core.engine":
        return
    first, *more = str(entry["message"]).splitlines() or [""]
    yield f"{_time(entry.get('time'), zone)}{f'{level}: ' if level in ('warning', 'error', 'critical') else ''}{first}"
    yield from (f"  {line}" for line in [*more, *_of_traceback(str(entry.get("traceback") or ""), folders)])


def _time(value: Any, zone: tzinfo) -> str:
    try:
        return f"{datetime.fromisoformat(value).astimezone(zone):%H:%M:%S} "
    except (TypeError, ValueError):
        return ""


def _of_traceback(traceback: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the frames of a traceback in the user's folders, and its last line."""
    lines = traceback.strip().splitlines()
    is_own = False
    for line in lines[:-1]:
        if frame := _FRAME.match(line):
            is_own = any(frame["file"].startswith(f"{folder}/") for folder in folders) and not _PACKAGES.search(frame["file"])
        if is_own and line.startswith(" "):
            yield line.strip()
    yield from lines[-1:]


def _short(line: str, folders: Sequence[Path]) -> str:
    """Return a line without control sequences of a terminal, and with short paths."""
    line = _ANSI.sub("", line)
    for folder in folders:
        line = line.replace(f"{folder}/", "")
    return _PACKAGES.sub("…/", line)
