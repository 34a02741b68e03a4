"""`pipeline suggest`, `new`, `try` and `shell`.

Propose, write and try the rules of a spider on a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipeline.cli.options import complete_spiders, json_option, load_settings, settings_option, spider_name, to_json
from pipeline.errors import UsageError
from pipeline.text import clean_line, counted, escape_controls, shown_url

if TYPE_CHECKING:
    from pipeline.model import Json
    from pipeline.settings import Settings

_proposal_option = click.option("--proposal", type=click.IntRange(1, 3), default=1, show_default=True, metavar="N",
                                help="Number of the proposal to use.")
_render_option = click.option("--render", is_flag=True, help="Render the page in a browser first, and propose `render`.")
_SUGGEST_LIMIT_S = 120.0


@click.command()
@settings_option
@click.argument("url")
@click.option("--spider", metavar="NAME", help="Fetch the page with the session of this spider: its cookies, login and proxy.")
@_render_option
@_proposal_option
@json_option
def suggest(settings_file: str, url: str, *, spider: str | None, render: bool, proposal: int, as_json: bool) -> None:
    """Propose the settings of a spider from one page of a site: what its items are, and their fields.

    Works without a settings file.
    """
    from pipeline.cli.pages.suggest import chosen, lines
    found = _proposals(settings_file, url, spider, render=render)
    if found["proposals"]:
        chosen(found, proposal)  # an error if there is no such proposal
    for line in [to_json(found)] if as_json else lines(found, proposal, spider):
        click.echo(escape_controls(line))
    if not found["proposals"]:
        raise SystemExit(1)


def _proposals(settings_file: str, url: str, spider: str | None, as_name: str = "", keys: dict[str, Any] | None = None, *,
               render: bool) -> dict[str, Any]:
    """Return the result of the task `suggest`.

    spider: see _session_of. as_name: the name of the spider in the proposed table. keys: keys to add to the table. render: whether the page is
    rendered in a browser.
    """
    from pipeline.cli.pages.child import perform
    from pipeline.workers.plain_session import name_for
    with _session_of(settings_file, url, spider, "suggest") as (settings, session):
        return perform(settings, "suggest", session, {"url": url, "as": as_name or spider or name_for(url), "keys": keys or {}, "render": render},
                       limit_s=_SUGGEST_LIMIT_S, where=shown_url(url))


@contextmanager
def _session_of(settings_file: str, url: str, spider: str | None, command: str) -> Iterator[tuple[Settings, str]]:
    """Yield settings and the name of the spider in them whose session fetches `url`.

    spider: the name of a spider in the settings file; None for a plain session, which needs no settings file.
    """
    from pipeline.cli.pages.child import check_url
    from pipeline.workers.plain_session import NAME, plain_settings
    if spider is not None:
        settings = load_settings(settings_file)
        name = spider_name(settings, spider)
        check_url(url, command)
        yield settings, name
        return
    base = _valid_settings(settings_file)
    check_url(url, command)
    with plain_settings(url, base) as settings:
        yield settings, NAME


def _valid_settings(settings_file: str) -> Settings | None:
    """Return the settings; None if the default settings file does not exist or has problems, which are counted on stderr.

    Raises SettingsError if a file that was named with --settings has problems.
    """
    from pipeline.errors import SettingsError
    if click.get_current_context().get_parameter_source("settings_file") is not ParameterSource.DEFAULT:
        return load_settings(settings_file)
    if not Path(settings_file).exists():
        return None
    try:
        return load_settings(settings_file)
    except SettingsError as error:
        click.echo(f"{settings_file}: {counted(len(error.problems), 'problem')}, so the file is not used; `pipeline check` shows them", err=True)
        return None


@click.command("try")
@settings_option
@click.argument("spider", required=False, shell_complete=complete_spiders)
@click.argument("url", required=False)
@click.option("--url", "only_url", metavar="URL", help="Fetch this page without the session of a spider.")
@click.option("--css", multiple=True, metavar="SELECTOR", help="Print what this CSS selector finds, instead of the spider's rules.")
@click.option("--xpath", multiple=True, metavar="EXPR", help="Print what this XPath expression finds.")
@click.option("--jmes", multiple=True, metavar="EXPR", help="Print what this JMESPath expression finds in the page as JSON.")
@click.option("--script", metavar="SELECTOR", help="CSS selector of the script with the JSON that --jmes reads.")
@click.option("--data", type=click.Choice(["json-ld", "opengraph", "microdata", "csv"]), help="Structured data that --jmes reads.")
@click.option("--spider", "session", metavar="NAME", help="With --url: fetch the page with the session of this spider.")
@json_option
def try_page(settings_file: str, spider: str | None, url: str | None, *, only_url: str | None, session: str | None,
             css: tuple[str, ...], xpath: tuple[str, ...], jmes: tuple[str, ...], script: str | None, data: str | None, as_json: bool) -> None:
    """Fetch one page with a spider's session, and print what each rule of the spider finds on the page.

    Without URL, the page is the first entry in the spider's `start`.
    With --css, --xpath or --jmes, which can be repeated, print what these expressions find.
    """
    from pipeline.cli.pages.try_page import lines
    name, url = session or spider, only_url or url
    if url is None and spider is not None:
        url = _first_page(settings_file, spider)
    if url is None or (only_url is not None and spider is not None):
        raise UsageError("give SPIDER, or --url URL with an expression", where="try")
    if css or xpath or jmes:
        found = _try_expressions(settings_file, name, url, css=css, xpath=xpath, jmes=jmes, source={"json": script, "data": data})
    elif script or data:
        raise UsageError("--script and --data need --jmes", where="try")
    elif name is None:
        raise UsageError("give an expression (--css, --xpath or --jmes)", where="try", fix="to try all rules of a spider, run `pipeline try SPIDER URL`")
    else:
        found = _try_rules(settings_file, name, url)
    for line in [to_json(found)] if as_json else lines(found):
        click.echo(escape_controls(line))


def _first_page(settings_file: str, spider: str) -> str:
    settings = load_settings(settings_file)
    start = settings.spiders[spider_name(settings, spider)].start
    if not start:
        raise UsageError("the spider has no `start`", where=f"spiders.{spider}", fix=f"give the page: `pipeline try {spider} URL`")
    return start[0].url


def _try_rules(settings_file: str, spider: str, url: str) -> dict[str, Json]:
    from pipeline.cli.pages.child import check_url, perform
    settings = load_settings(settings_file)
    table = settings.spiders[spider_name(settings, spider)]
    check_url(url, "try")
    if not table.is_built_in:
        raise UsageError("the spider is written in Python and has no rules to try", where=f"spiders.{spider}",
                         fix=f"print the items of the spider with `pipeline run {spider} --dry-run`")
    return perform(settings, "try_rules", spider, {"url": url})


def _try_expressions(settings_file: str, spider: str | None, url: str, *, css: tuple[str, ...], xpath: tuple[str, ...],
                     jmes: tuple[str, ...], source: dict[str, str | None]) -> dict[str, Json]:
    from pipeline.cli.pages.child import perform
    from pipeline.cli.pages.expressions import selectors
    wanted = selectors(css=css, xpath=xpath, jmes=jmes, source={name: value for name, value in source.items() if value is not None})
    with _session_of(settings_file, url, spider, "try") as (settings, session):
        return perform(settings, "expressions", session, {"url": url, "selectors": wanted}, where=shown_url(url))


@click.command()
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@click.argument("url")
def shell(settings_file: str, spider: str, url: str) -> None:
    """Fetch a page with a spider's session, and open a Python console with it.

    The console has `response`, `document`, `rule("css")`, `items()` and `fetch(url)`.
    """
    from pipeline.cli.pages.child import check_url
    from pipeline.cli.pages.shell import open_shell
    settings = load_settings(settings_file)
    name = spider_name(settings, spider)
    check_url(url, "shell")
    open_shell(settings, name, url)


@click.group()
def new() -> None:
    """Write a new spider."""


@new.command("spider")
@settings_option
@click.argument("name")
@click.option("--from", "url", metavar="URL", help="Write settings.d/NAME.toml with the settings that `pipeline suggest URL` proposes.")
@click.option("--spider", metavar="OTHER", help="With --from: fetch the page with the session of this spider, and copy its login, cookies and proxy.")
@_render_option
@_proposal_option
def new_spider(settings_file: str, name: str, *, url: str | None, spider: str | None, render: bool, proposal: int) -> None:
    """Write the settings of a new spider from a page of its site (--from), or a template of a Python spider.

    Without --from, write spiders/NAME.py beside the settings file, and print the table to add to the settings file.
    """
    from pipeline.cli import new_spider as new
    if url is None:
        if spider is not None or render:
            raise UsageError(f"{'--spider' if spider is not None else '--render'} needs --from", where="new spider")
        path, table = new.write_spider(Path(settings_file).absolute().parent, name)
        click.echo(f"created {path}; add this table to {settings_file}:\n\n{table}")
        return
    from pipeline.cli.pages.child import perform
    from pipeline.cli.pages.suggest import certainty, chosen
    from pipeline.settings.drafts import session_keys
    settings = load_settings(settings_file)
    new.check_name(settings, name)
    keys = session_keys(settings, spider_name(settings, spider)) if spider is not None else {}
    proposals = _proposals(settings_file, url, spider, name, keys, render=render)
    found = chosen(proposals, proposal)
    path = new.write_table(settings, name, found["toml"], url)
    click.echo(f"created {path} from proposal {proposal} ({certainty(found)})")
    for note in [*proposals["seen"], *found["notes"]]:
        click.echo(f"note: {clean_line(note)}")
    settings = load_settings(settings_file)
    tried = perform(settings, "try_rules", name, {"url": settings.spiders[name].start[0].url})
    for line in new.next_steps(settings, name, tried):
        click.echo(escape_controls(line))
    if not tried["items"]:
        raise SystemExit(1)
