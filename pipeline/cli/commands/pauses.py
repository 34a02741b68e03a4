"""`pipeline pause` and `resume`: stop and continue the schedules of spiders."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import complete_spiders, load_settings, open_stored, settings_option, spider_name
from pipeline.cli.times import end_of, end_options

if TYPE_CHECKING:
    from pipeline.settings import Settings

LONGEST_REASON = 300


@click.command()
@settings_option
@click.argument("spiders", nargs=-1, metavar="SPIDER…", shell_complete=complete_spiders)
@click.option("--all", "every", is_flag=True, help="Pause all spiders of the settings.")
@end_options
@click.option("--reason", default="", help="Shown wherever the spider is shown as paused.")
def pause(settings_file: str, spiders: tuple[str, ...], until: str | None, lasts: str | None, reason: str, *, every: bool) -> None:
    """Pause spiders: their schedules start no run until the pause ends. A run in progress continues (`pipeline stop` stops it)."""
    from pipeline.cli.running_service import find_service
    settings = load_settings(settings_file)
    names = _names(spiders, list(settings.spiders), every=every, command="pause")
    for name in names:
        spider_name(settings, name)
    now = datetime.now(UTC)
    ends = end_of(until, lasts, now=now, zone=settings.zone)
    reason = " ".join(reason.split())
    if len(reason) > LONGEST_REASON:
        raise click.UsageError(f"--reason has more than {LONGEST_REASON} characters")
    service = find_service(settings)
    for name in names:
        if service is None or not service.pause(name, until=ends, reason=reason):
            _pause_stored(settings, name, until=ends, reason=reason, now=now)
        click.echo(f"{name}: paused " + (f"until {ends.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}" if ends else "until `pipeline resume`"))


def _pause_stored(settings: Settings, name: str, *, until: datetime | None, reason: str, now: datetime) -> None:
    """Pause a spider in the store: no service is up, or its settings do not have the spider yet."""
    from pipeline.cli.audited import note_action
    from pipeline.store.runs import paused_spiders
    store = open_stored(settings)
    paused_spiders.pause(store, name, now=now, until=until, reason=reason)
    note_action(store, "pause", f"spider {name}")


@click.command()
@settings_option
@click.argument("spiders", nargs=-1, metavar="SPIDER…", shell_complete=complete_spiders)
@click.option("--all", "every", is_flag=True, help="Resume all paused spiders.")
def resume(settings_file: str, spiders: tuple[str, ...], *, every: bool) -> None:
    """End the pause of spiders. If slots were missed meanwhile, a running service starts a run for the newest one within 20 seconds."""
    from pipeline.cli.audited import note_action
    from pipeline.cli.running_service import find_service
    from pipeline.store.runs import paused_spiders
    settings = load_settings(settings_file)
    store = open_stored(settings)
    paused = paused_spiders.paused_spiders(store, now=datetime.now(UTC))
    names = _names(spiders, sorted(paused), every=every, command="resume")
    for name in names:
        if name not in paused:  # a paused spider may have been removed from the settings since
            spider_name(settings, name)
    service = find_service(settings)
    for name in names:
        if service is None or not service.resume(name):
            paused_spiders.resume(store, name)
            note_action(store, "resume", f"spider {name}")
        click.echo(f"{name}: " + ("resumed" if name in paused else "was not paused"))
    if not names:
        click.echo("no spider is paused")


def _names(given: tuple[str, ...], everything: list[str], *, every: bool, command: str) -> list[str]:
    if every == bool(given):
        raise click.UsageError(f"name the spiders to {command}, or give --all")
    return everything if every else list(dict.fromkeys(given))
