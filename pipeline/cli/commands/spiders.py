"""`pipeline try` and `pipeline new`: try the rules of a spider on a page, and create a new spider."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import json_option, load_settings, settings_option, spider_name, to_json
from pipeline.errors import UsageError


@click.command("try")
@settings_option
@click.argument("spider")
@click.argument("url")
@json_option
def try_page(settings_file: str, spider: str, url: str, *, as_json: bool) -> None:
    """Fetch one page with a spider's session, and print what each rule of the spider finds on the page."""
    from pipeline.cli.pages.child import check_url, perform
    from pipeline.cli.pages.try_page import lines
    check_url(url, "try")
    settings = load_settings(settings_file)
    table = settings.spiders[spider_name(settings, spider)]
    if not table.is_built_in:
        raise UsageError("the spider is written in Python and has no rules to try", where=f"spiders.{spider}",
                         fix=f"print the items of the spider with `pipeline run {spider} --dry-run`")
    found = perform(settings, "try_rules", spider, {"url": url})
    for line in [to_json(found)] if as_json else lines(found):
        click.echo(line)


@click.group()
def new() -> None:
    """Write the template of a new spider."""


@new.command("spider")
@settings_option
@click.argument("name")
def new_spider(settings_file: str, name: str) -> None:
    """Write spiders/NAME.py beside the settings file, and print the table to add to the settings file."""
    from pipeline.cli.new_spider import write_spider
    path, table = write_spider(Path(settings_file).absolute().parent, name)
    click.echo(f"created {path}; add this table to {settings_file}:\n\n{table}")
