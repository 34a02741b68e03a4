"""`pipeline stop`: stop the runs of a spider, or one run, at a checkpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    complete_spiders,
    json_option,
    load_settings,
    open_stored,
    run_fields,
    settings_option,
    spider_name,
    to_json,
)
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.model import Run
    from pipeline.settings import Settings
    from pipeline.store import Store

LOOK_EVERY_S = 0.2
_DIGITS = 18
"""No run has a longer number."""
WAIT_S = 60.0
"""How long to wait for the end of the runs. A process that does not stop at a checkpoint is killed after 30 s."""


@click.command()
@settings_option
@click.argument("what", metavar="SPIDER|RUN", shell_complete=complete_spiders)
@click.option("--no-wait", is_flag=True, help="Do not wait until the runs have ended.")
@json_option
def stop(settings_file: str, what: str, *, no_wait: bool, as_json: bool) -> None:
    """Stop the runs of a spider, or the run with the number RUN, on whichever node they are.

    A run in progress stops at a checkpoint, and a run that waits ends at once. The next run of the spider continues the pass.
    Exit code: 1 if a run has not ended after a minute.
    """
    from pipeline.run_summary import ended_line
    settings = load_settings(settings_file)
    store = open_stored(settings)
    run_id = int(what[:_DIGITS]) if what.isdecimal() and what not in settings.spiders else None
    found = _request_stop(store, settings, None if run_id is not None else what, run_id)
    if not found:
        _say_nothing_to_stop(store, settings, what, run_id)
        if as_json:
            click.echo("[]")
        return
    ended = found if no_wait else _wait(store, found)
    if as_json:
        click.echo(to_json([run_fields(run) for run in ended]))
    for run in () if as_json else ended:
        click.echo(ended_line(run) if run.ended_at is not None else f"{run.spider} run {run.id}: the stop is requested"
                   + ("" if no_wait else f", but the run has not ended within {WAIT_S:.0f} s; `pipeline history` shows when it ends"))
    raise SystemExit(0 if no_wait or all(run.ended_at is not None for run in ended) else 1)


def _request_stop(store: Store, settings: Settings, spider: str | None, run_id: int | None) -> list[Run]:
    """Ask the service, or without one the processes of the runs, to stop the runs. Return those that had not ended, as they are now."""
    from datetime import UTC, datetime

    from pipeline.cli.audited import note_action
    from pipeline.cli.running_service import find_service
    from pipeline.store.runs.runs import get_run
    from pipeline.store.runs.stop_requests import request_stop, runs_to_stop
    from pipeline.workers.dispatcher.aborts import abort_jobs
    service = find_service(settings)
    if service is not None:
        found = runs_to_stop(store, spider=spider, run_id=run_id)
        for run in found:
            service.stop_run(run.id)
        return [get_run(store, run.id) or run for run in found]
    found = request_stop(store, spider=spider, run_id=run_id, now=datetime.now(UTC))
    for run in found:
        note_action(store, "stop", f"run {run.id}")
    abort_jobs(store, found)
    return found


def _say_nothing_to_stop(store: Store, settings: Settings, what: str, run_id: int | None) -> None:
    """Say why there is nothing to stop. Raises UsageError if there is no such spider or run."""
    from pipeline.run_summary import ended_line
    from pipeline.store.runs.runs import get_run
    if run_id is None:
        click.echo(f"no run of {spider_name(settings, what)} waits or is in progress", err=True)
        return
    run = get_run(store, run_id)
    if run is None:
        raise UsageError(f"there is no run {run_id}", where="stop", fix="`pipeline history` lists the runs")
    click.echo(f"the run has ended already: {ended_line(run)}", err=True)


def _wait(store: Store, found: list[Run]) -> list[Run]:
    """Wait until the runs have ended, at most WAIT_S; return them as they are then."""
    from pipeline.store.runs.runs import get_run
    deadline = time.monotonic() + WAIT_S
    while any(run.ended_at is None for run in found) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        found = [get_run(store, run.id) or run for run in found]
    return found
