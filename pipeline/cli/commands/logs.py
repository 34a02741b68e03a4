"""`pipeline logs`: print the log of a run, also while the run is in progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    complete_spiders,
    json_option,
    load_settings,
    open_stored,
    settings_option,
    spider_name,
    to_json,
)
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

    from pipeline.model import Run
    from pipeline.settings import Settings
    from pipeline.store import Store
    from pipeline.store.files.log_lines import LogLine

LOOK_EVERY_S = 0.5
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}


@click.command()
@settings_option
@click.argument("what", metavar="[SPIDER|RUN]", required=False, shell_complete=complete_spiders)
@click.option("-f", "--follow", is_flag=True, help="Continue until the run has ended.")
@click.option("--level", type=click.Choice(["debug", "info", "warning", "error"]), default="debug", help="Print only lines of this level and above.")
@click.option("--lines", type=click.IntRange(1), metavar="N", help="Print only the last N lines, and with --follow what comes then.")
@json_option
def logs(settings_file: str, what: str | None, level: str, lines: int | None, *, follow: bool, as_json: bool) -> None:
    """Print the log of the run with the number RUN, or of the last run of a spider, or of the last run of all."""
    from pipeline.settings.masking import Mask
    from pipeline.store.files.log_lines import LogReader, page_before
    from pipeline.store.files.run_logs import run_log_files
    from pipeline.store.runs.runs import get_run
    settings = load_settings(settings_file)
    store = open_stored(settings)
    run = _run(store, settings, what)
    files, mask = run_log_files(store, run.id), Mask.of(settings)
    printed = after = 0
    if lines is not None:
        page = page_before(files, limit=lines, wanted=lambda line: line.is_at_least(level), ended=run.ended_at is not None, max_bytes=None)
        for line in page.lines:
            _print(line, mask(line.text), settings.zone, as_json=as_json)
        printed, after = len(page.lines), page.end
    reader, is_first = LogReader(files, after=after), True
    while True:
        ended = run.ended_at is not None
        for line in reader.read(ended=ended):
            if line.is_at_least(level):
                _print(line, mask(line.text), settings.zone, as_json=as_json)
                printed += 1
        if is_first and not printed and (ended or not follow):
            click.echo(_nothing(store, run, level), err=True)
        is_first = False
        if ended or not follow:
            return
        time.sleep(LOOK_EVERY_S)
        run = get_run(store, run.id) or run


def _run(store: Store, settings: Settings, what: str | None) -> Run:
    """Return the run with this number, or the last one of this spider, or of all. Raises UsageError."""
    from pipeline.store.runs import runs
    if what is not None and what.isdecimal() and what not in settings.spiders:
        run = runs.get_run(store, int(what)) if len(what) < 19 else None
        if run is None:
            raise UsageError(f"there is no run {what}", where="logs", fix="`pipeline history` lists the runs")
        return run
    found = runs.history(store, spider_name(settings, what) if what is not None else None, limit=1)
    if not found:
        raise UsageError(f"{what or 'no spider'} has {'not ' if what else ''}run yet", where="logs")
    return found[0]


def _nothing(store: Store, run: Run, level: str) -> str:
    """Say why nothing was printed."""
    if store.files.is_remote and run.ended_at is None:
        return f"run {run.id}: the log is on the node that performs the run until the run has ended"
    if run.started_at is None and run.ended_at is None:
        return f"run {run.id} of {run.spider} waits to start"
    return f"run {run.id} of {run.spider}: no log is stored" + (f", or none of its lines has the level {level}" if level != "debug" else "")


def _print(line: LogLine, text: str, zone: tzinfo, *, as_json: bool) -> None:
    from pipeline.text import escape_controls
    if as_json:
        click.echo(to_json({"time": line.at.isoformat() if line.at else None, "level": line.level or None, "message": text}))
        return
    text = escape_controls(text).replace("\n", "\n  ")
    label = f"{line.level}: " if line.level in _COLOURS else ""
    at = f"{line.at.astimezone(zone):%H:%M:%S} " if line.at is not None else ""
    click.echo(f"{at}{click.style(label, fg=_COLOURS[line.level]) if label else ''}{text}")
