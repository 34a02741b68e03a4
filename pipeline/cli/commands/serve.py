"""`pipeline serve` and `reload`.

Run the service in this process, or reload the settings of a running one.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from pipeline.cli.options import load_settings, settings_option
from pipeline.errors import HeartbeatError, UsageError

if TYPE_CHECKING:
    from pipeline.service import ServiceOptions
    from pipeline.settings import Settings


@contextmanager
def without_collection() -> Iterator[None]:
    """Disable garbage collection during a `with` block in which modules are imported.

    Importing modules leaves hardly any garbage, but looking for garbage would take a fifth of the start time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@click.command()
@settings_option
@click.option("--once", is_flag=True, help="Perform the runs and digests that are due, deliver the mail, and exit.")
@click.option("--no-worker", is_flag=True, help="Leave all runs to `pipeline worker` on other nodes (PostgreSQL).")
def serve(settings_file: str, *, once: bool, no_worker: bool) -> None:
    """Run the service until SIGTERM or Ctrl-C. SIGHUP reloads the settings."""
    if once and no_worker:
        raise UsageError("--once performs the runs itself, so it cannot be combined with --no-worker")
    with without_collection():
        from pipeline.service import ServiceOptions
        from pipeline.service.roles import OUTBOX, SCHEDULER
        settings = load_settings(settings_file)
    run_service(settings, ServiceOptions(roles=(SCHEDULER, OUTBOX) if no_worker else None, once=once))


@click.command()
@settings_option
def reload(settings_file: str) -> None:
    """Reload the settings of the running service, and print what has changed. With problems in the files, it goes on with the settings it has."""
    from pipeline.cli.running_service import needed_service
    from pipeline.settings import load_for_heartbeat
    from pipeline.text import escape_line
    settings, problems = load_for_heartbeat(settings_file)
    try:
        service = needed_service(settings)
    except HeartbeatError as error:
        raise problems or error from None
    report = service.reload()  # reports the problems of the files
    for problem in report.problems:
        click.echo(escape_line(problem), err=True)
    if report.problems:
        click.echo("the settings were not reloaded; the service goes on with those that it has", err=True)
        raise SystemExit(UsageError.exit_code)
    click.echo(f"reloaded; changed: {', '.join(map(escape_line, report.changed)) or 'nothing'}")
    if report.waiting:
        click.echo(f"waiting for a restart of the service: {', '.join(map(escape_line, report.waiting))}")


def run_service(settings: Settings, options: ServiceOptions) -> NoReturn:
    """Run a service in this process, and exit."""
    with without_collection():
        import asyncio
        from dataclasses import replace

        import uvloop

        from pipeline import logs
        from pipeline.service import serve as serve_until_stopped
        from pipeline.settings.masking import Mask

        def configure_logs(settings: Settings) -> None:
            logs.configure(sys.stderr, mask=Mask.of(settings), level=settings.logs.level, parts=settings.logs.parts)

        configure_logs(settings)
    options = replace(options, show_progress=sys.stderr.isatty(), configure_logs=configure_logs)
    # With uvloop, the heartbeat can serve twice as many requests in the same CPU time (benchmarks/heartbeat.py).
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise SystemExit(runner.run(serve_until_stopped(settings, options)))
