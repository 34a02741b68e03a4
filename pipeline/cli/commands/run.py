"""`pipeline run`: run spiders in the foreground, or as a dry run that stores nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from pipeline.cli.commands.serve import without_collection
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


@click.command()
@settings_option
@click.argument("spiders", nargs=-1, metavar="SPIDER...", shell_complete=complete_spiders)
@click.option("--all", "every", is_flag=True, help="Run all spiders of the settings.")
@click.option("--dry-run", is_flag=True, help="Print the items as JSON lines, and store nothing.")
@json_option
def run(settings_file: str, spiders: tuple[str, ...], *, every: bool, dry_run: bool, as_json: bool) -> None:
    """Run spiders now, with live progress: in the running service, or in the foreground if none is up or if it uses other settings."""
    if bool(spiders) == every:
        raise UsageError("give either the names of the spiders to run or --all", where="run")
    if every or len(set(spiders)) > 1:
        from pipeline.workers.forkserver import warm_up
        warm_up()  # the runs will wait for the fork server, so start it before the settings are known to be valid
    with without_collection():
        import asyncio

        from pipeline.cli.audited import note_action
        from pipeline.cli.foreground_run import prepare, run_now
        from pipeline.cli.running_service import service_with_these_settings
        from pipeline.cli.service_run import run_by_service
        from pipeline.run_summary import ended_line
        settings = load_settings(settings_file)
    names = list(settings.spiders) if every else [spider_name(settings, name) for name in dict.fromkeys(spiders)]
    service = None if dry_run else service_with_these_settings(settings, otherwise="performs the run itself")
    if service is not None:
        store = open_stored(settings)
        ended = asyncio.run(run_by_service(service, store, names, show=sys.stderr))
        _show(store, settings, ended, as_json=as_json)
    with prepare(settings, names) as prepared:
        if dry_run:
            from pipeline.cli.dry_run import run_dry
            ended = run_dry(settings, names, out=click.echo, show=sys.stderr, prepared=prepared)
            for entry in ended:
                click.echo(ended_line(entry), err=True)
            raise SystemExit(exit_code(ended))
        store = open_stored(settings)
        for name in names:
            note_action(store, "run", f"spider {name}")
        ended = asyncio.run(run_now(store, settings, names, show=sys.stderr, prepared=prepared))
    _show(store, settings, ended, as_json=as_json)


def _show(store: Store, settings: Settings, ended: list[Run], *, as_json: bool) -> NoReturn:
    """Print how the runs ended, and exit."""
    from pipeline.run_summary import ended_line
    if as_json:
        click.echo(to_json([run_fields(entry) for entry in ended]))
    else:
        for entry in ended:
            rejected = f"; to list the rejected items, run `pipeline items {entry.spider} --rejects`" if entry.progress.rejected else ""
            click.echo(ended_line(entry) + rejected + (_mend_hint(store, settings, entry) if entry.suspect else ""))
    raise SystemExit(exit_code(ended))


def _mend_hint(store: Store, settings: Settings, run: Run) -> str:
    """Return the next step after a suspect run; "" if the spider has no rules for items, or if no item of it is stored."""
    from pipeline.store.crawl.known_items import known_items
    table = settings.spiders[run.spider]
    has_rules = table.is_built_in and (table.items is not None or table.watch.part is not None)
    if not has_rules or not known_items(store, run.spider, limit=1):
        return ""
    return f"; `pipeline mend {run.spider}` searches for new rules"


def exit_code(ended: list[Run]) -> int:
    """Return 0 if every run succeeded, otherwise the exit code for the failures.

    If all failed runs failed with the same class of errors, this is the exit code of the class; otherwise it is 1.
    """
    from pipeline.errors import family
    from pipeline.model import Outcome
    codes = {family(entry.error_kind).exit_code for entry in ended if entry.outcome is not Outcome.SUCCEEDED}
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1
