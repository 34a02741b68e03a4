"""`pipeline mend`: propose new rules for a spider whose site has changed its pages."""

from __future__ import annotations

import click

from pipeline.cli.options import complete_spiders, json_option, load_settings, settings_option, spider_name, to_json
from pipeline.errors import UsageError


@click.command()
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@click.option("--url", "urls", multiple=True, metavar="URL", help="A page to look at instead of those on which items were found before; may be repeated.")
@click.option("--apply", "applies", is_flag=True, help="Write the proposed rules to the settings file.")
@json_option
@click.pass_context
def mend(context: click.Context, settings_file: str, spider: str, urls: tuple[str, ...], *, applies: bool, as_json: bool) -> None:
    """Look for the stored items of a spider on its pages, and propose new rules for those that no longer work."""
    from pipeline.cli.pages.child import check_url, perform
    from pipeline.cli.pages.mend import apply, lines
    for url in urls:
        check_url(url, "mend")
    settings = load_settings(settings_file)
    table = settings.spiders[spider_name(settings, spider)]
    if not table.is_built_in:
        raise UsageError("the spider is written in Python and has no rules to mend", where=f"spiders.{spider}")
    found = perform(settings, "mend", spider, {"urls": list(urls)})
    for line in [] if as_json else lines(spider, found):
        click.echo(line)
    found["applied"] = bool(applies and found["changes"])
    done = list(apply(settings, spider, found)) if found["applied"] else []
    if as_json:
        click.echo(to_json(found))
    elif found["changes"]:
        for line in done or [f"write this change with `pipeline mend {spider} --apply`"]:
            click.echo(line)
    if found["is_needed"] and not found["changes"]:
        context.exit(1)
