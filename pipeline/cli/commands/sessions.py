"""`pipeline login` and `cookies`: test a spider's login, import cookies for a spider and list them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

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
from pipeline.text import counted


@click.command()
@settings_option
@click.option("--fresh", is_flag=True, help="Log in again even if the session is still logged in.")
@click.argument("spider", shell_complete=complete_spiders)
def login(settings_file: str, spider: str, *, fresh: bool) -> None:
    """Test the login of a spider: log in, unless the spider's session is still logged in."""
    from pipeline.session import UNCHECKABLE, open_session
    from pipeline.store.from_settings import session_files_of
    settings = load_settings(settings_file)
    table = settings.spiders[spider_name(settings, spider)]
    if table.login is None:
        raise UsageError("the spider has no `login` table", where=f"spiders.{spider}", fix="add login settings to the spider")
    with session_files_of(settings, spider) as stored:
        session = open_session(spider, table, settings, stored)
        made = session.ensure_login(fresh=fresh)
    held = "the session of the imported cookies is still logged in" if not table.login.sends else \
        "the session is still logged in; the password was not tried (to try the password, add --fresh)"
    stored_by = f", and web storage of {counted(len(session.storage.snapshot()), 'site')}" if session.storage else ""
    click.echo(f"{spider}: {'logged in' if made else held}; {counted(len(session.jar.alive()), 'cookie')} in the cookie jar{stored_by}")
    if not session.checkable:
        click.echo(f"{spider}: {UNCHECKABLE}")


@click.group()
def cookies() -> None:
    """Import, list or remove the cookies of a spider."""


@cookies.command("import")
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def cookies_import(settings_file: str, spider: str, file: Path) -> None:
    """Import cookies from a browser. FILE is a cookies.txt file, a Cookie header, or a JSON export."""
    from pipeline.session import open_session
    from pipeline.store.from_settings import session_files_of
    settings = load_settings(settings_file)
    table = settings.spiders[spider_name(settings, spider)]
    with session_files_of(settings, spider) as stored:
        session = open_session(spider, table, settings, stored)
        count = session.bring_in(file, table.start[0].url if table.start else (table.login and table.login.url) or "")
    click.echo(f"{spider}: {counted(count, 'cookie')} imported")


@cookies.command("clear")
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
def cookies_clear(settings_file: str, spider: str) -> None:
    """Remove all cookies, the token and the web storage of a spider, so that its next run starts without a login. Not while it runs."""
    from pipeline.cli.audited import note_action
    from pipeline.session import open_session
    from pipeline.store.from_settings import session_files_of
    from pipeline.store.health.status_queries import running
    from pipeline.store.session_files import SECRETS_OF_LOGIN
    settings = load_settings(settings_file)
    table = settings.spiders[spider_name(settings, spider)]
    with open_stored(settings).read() as connection:
        at_work = [run for run in running(connection) if run.spider == spider and run.started_at is not None]
    if at_work:  # it has the cookies in memory, and would write them again
        raise UsageError(f"run {at_work[0].id} is in progress and uses the cookies", where=spider, fix="stop the run first, or wait for its end")
    with session_files_of(settings, spider) as stored:
        jar = open_session(spider, table, settings, stored).jar
        count = len(jar)
        jar.clear()
        jar.save()
        for name in SECRETS_OF_LOGIN:
            if stored.file(name).read():
                stored.file(name).replace(b"")
    note_action(open_stored(settings), "clear", f"cookies {spider}")
    click.echo(f"{spider}: {counted(count, 'cookie')} removed")


@cookies.command("show")
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@json_option
def cookies_show(settings_file: str, spider: str, *, as_json: bool) -> None:
    """List the cookies and the web storage of a spider, with their values masked."""
    from pipeline.session import describe, describe_storage, open_session
    from pipeline.store.from_settings import session_files_of
    settings = load_settings(settings_file)
    table = settings.spiders[spider_name(settings, spider)]
    with session_files_of(settings, spider) as stored:
        session = open_session(spider, table, settings, stored)
    if as_json:
        click.echo(to_json({"cookies": [{"domain": cookie.domain, "path": cookie.path, "name": cookie.name, "flags": cookie.flags, "expired": cookie.expired,
                                         "expires": cookie.expires.isoformat() if cookie.expires else None} for cookie in describe(session.jar, datetime.now(UTC))],
                            "storage": list(describe_storage(session.storage))}))
        return
    for cookie in describe(session.jar, datetime.now(UTC)):
        if cookie.expires is None:
            ends = "ends with the browser session"
        else:
            verb = "expired" if cookie.expired else "expires"
            ends = f"{verb} {cookie.expires.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}"
        click.echo(f"{cookie.domain}{cookie.path}  {cookie.name} = {cookie.value}  {ends}  {' '.join(cookie.flags)}")
    for line in describe_storage(session.storage):
        click.echo(line)
