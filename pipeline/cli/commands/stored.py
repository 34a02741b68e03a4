"""`pipeline history`, `next` and `items`: list past runs, due times and items from the store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import (
    GroupWithDefault,
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
from pipeline.registry import ATTACHMENT_FORMATS

if TYPE_CHECKING:
    from datetime import tzinfo

    from pipeline.cli.item_export import Wanted
    from pipeline.schedule.upcoming import Entry
    from pipeline.settings import Settings

STATES = {"present": True, "gone": False, "all": None}
"""The choices of --state, as ItemFilter has them."""


@click.command()
@settings_option
@click.argument("spider", required=False, shell_complete=complete_spiders)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10000))
@click.option("--rules", "with_rules", is_flag=True, help="Show what each rule matched in the pass of each run, and how much it usually matches.")
@json_option
def history(settings_file: str, spider: str | None, limit: int, *, with_rules: bool, as_json: bool) -> None:
    """List past runs, the newest first."""
    from pipeline.cli.rule_lines import rule_fields, rule_lines
    from pipeline.run_summary import ended_line
    from pipeline.store.crawl.rule_counts import rows_of_pass
    from pipeline.store.runs import runs
    settings = load_settings(settings_file)
    if spider is not None:
        spider_name(settings, spider)
    store = open_stored(settings)
    found = runs.history(store, spider, limit=limit)
    if as_json:
        click.echo(to_json([run_fields(entry) | {"rules": rule_fields(rows_of_pass(store, entry.spider, entry.pass_id))} for entry in found]))
        return
    for entry in found:
        at = (entry.started_at or entry.created_at).astimezone(settings.zone)
        click.echo(f"{at:%Y-%m-%d %H:%M:%S}  {ended_line(entry)}")
        for line in rule_lines(rows_of_pass(store, entry.spider, entry.pass_id)) if with_rules else ():
            click.echo(f"    {line}")


@click.command("next")
@settings_option
@json_option
def next_slots(settings_file: str, *, as_json: bool) -> None:
    """List each schedule in words, with its next due time."""
    from dataclasses import asdict

    from pipeline.schedule.upcoming import upcoming
    settings = load_settings(settings_file)
    found = upcoming(open_stored(settings), settings, now=datetime.now(UTC))
    if as_json:
        click.echo(to_json([asdict(entry) for entry in found]))
        return
    for entry in found:
        when = _paused(entry, settings.zone) if entry.paused else f"{entry.next.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}" if entry.next else "-"
        written = f"  ({entry.schedule})" if entry.schedule else ""
        held = f"; requests to its host are paused until {entry.paused_until.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}" \
            if entry.paused_until else ""
        click.echo(f"{when:<24}  {entry.kind} {entry.name}{written}  {entry.words}{held}{f'; paused: {entry.reason}' if entry.reason else ''}")


@click.group(cls=GroupWithDefault)
def items() -> None:
    """Print the stored items of a spider (`list`, the default), or forget some of them."""


@items.command("list")
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@click.option("--format", "form", type=click.Choice([*ATTACHMENT_FORMATS, "json"]),
              help="The default is the ending of the file of --output, or else jsonl; json is one array.")
@click.option("--changes", is_flag=True, help="Print the changes instead of the present items.")
@click.option("--rejects", is_flag=True, help="Print the rejected items, with the reason and the page.")
@click.option("--key", help="Print only the item with this key, or with --changes the changes of this item.")
@click.option("--search", "text", default="", help="Print only items of which a field contains this text, in any case.")
@click.option("--field", help="Print only items of which this field contains the text of --value.")
@click.option("--value", help="What the field of --field contains, in any case.")
@click.option("--state", type=click.Choice(STATES), default="present", show_default=True, help="Print only items on the site, only those that are gone, or all.")
@click.option("--describe", is_flag=True, help="Add whether each item is on the site, and when it was first seen and last changed.")
@click.option("--mask", is_flag=True, help="Mask the secrets of the settings, as the pages do.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead of stdout.")
def items_list(settings_file: str, spider: str, form: str | None, output: Path | None, *, changes: bool, rejects: bool, **chosen: Any) -> None:
    """Print the stored items of a spider, sorted by key."""
    from pipeline.cli.item_export import export_changes, export_items
    from pipeline.store.console.all_items import has_items
    settings = load_settings(settings_file)
    store = open_stored(settings)
    name = spider if has_items(store, spider) else spider_name(settings, spider)
    wanted = _wanted(settings, name, **chosen)
    if changes or rejects:
        without_effect = [f"--{option}" for option, given in (("search", wanted.items.text), ("field", wanted.items.field), ("state", wanted.items.present is not True),
                                                              ("describe", wanted.described), ("mask", wanted.masked)) if given]
        if without_effect:
            raise click.UsageError(f"{', '.join(without_effect)} cannot be used with --changes or --rejects")
    if rejects:
        from pipeline.store.crawl import items as stored
        for entry in stored.rejected(store, name, key=wanted.key):
            click.echo(to_json({"at": entry.at.isoformat(), "run": entry.run_id, "url": entry.url, "reason": entry.reason,
                              "data": entry.data}))
        return
    ending = output.suffix.removeprefix(".").lower() if output is not None else ""
    form = form or (ending if ending in (*ATTACHMENT_FORMATS, "json") else "jsonl")
    if changes:
        export_changes(store, name, form, output, key=wanted.key)
    else:
        export_items(store, wanted, form, output)


def _wanted(settings: Settings, spider: str, *, key: str | None, text: str, field: str | None, value: str | None, state: str, describe: bool,
            mask: bool) -> Wanted:
    """Return the items that the options of `items list` name."""
    from pipeline.cli.item_export import Wanted
    from pipeline.settings.masking import Mask
    from pipeline.store.console.items import ItemFilter
    if (field is None) != (value is None):
        raise click.UsageError("give --field and --value together")
    return Wanted(spider, ItemFilter(text, field or "", value or "", STATES[state]), key, described=describe, masked=Mask.of(settings) if mask else None)


@items.command("forget")
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@click.argument("keys", nargs=-1, metavar="KEY…")
@click.option("--all", "every", is_flag=True, help="Forget all items of the spider.")
@click.option("--yes", is_flag=True, help="Do not ask whether to forget all items.")
def items_forget(settings_file: str, spider: str, keys: tuple[str, ...], *, every: bool, yes: bool) -> None:
    """Forget items by their keys (`pipeline items SPIDER --changes` prints them).

    The next run that finds such an item reports it as new, and no run reports it as gone. Its earlier changes stay in the history.
    Exit code: 2 if there is no item with one of the keys; the other items are forgotten.
    """
    from pipeline.cli.audited import note_action
    from pipeline.store.crawl import items as stored
    settings = load_settings(settings_file)
    spider_name(settings, spider)
    if every == bool(keys):
        raise click.UsageError("give the keys of the items to forget, or --all")
    store = open_stored(settings)
    if every and not yes:
        click.confirm(f"Forget all items of {spider}? The next run then reports all that it finds as new", abort=True)
    if every:
        from pipeline.text import counted
        click.echo(f"{spider}: {counted(stored.forget_all(store, spider), 'item')} forgotten")
        note_action(store, "forget", f"spider {spider}, all items")
        return
    unknown = [key for key in dict.fromkeys(keys) if not stored.forget(store, spider, key)]
    for key in dict.fromkeys(keys):
        if key not in unknown:
            click.echo(f"{spider}: forgot {key}")
            note_action(store, "forget", f"spider {spider} item {key}")
    if unknown:
        raise UsageError(f"no stored item has the key {', '.join(map(repr, unknown))}", where=f"items forget {spider}",
                         fix=f"`pipeline items {spider} --changes` prints the keys")


def _paused(entry: Entry, zone: tzinfo) -> str:
    return "paused" if entry.pause_ends is None else f"paused until {entry.pause_ends.astimezone(zone):%Y-%m-%d %H:%M %Z}"
