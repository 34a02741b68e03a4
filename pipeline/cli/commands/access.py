"""`pipeline token` and `audit`: API tokens for scripts, and what people and scripts did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import json_option, load_settings, open_stored, settings_option, to_json
from pipeline.errors import UsageError
from pipeline.text import escape_line

if TYPE_CHECKING:
    from pipeline.store.access.api_tokens import ApiToken


@click.group()
def token() -> None:
    """Create, list and revoke API tokens, with which scripts use the HTTP API and the pages."""


@token.command("create")
@settings_option
@click.argument("name")
@click.option("--read-only", is_flag=True, help="The token may read everything, but change nothing.")
def token_create(settings_file: str, name: str, *, read_only: bool) -> None:
    """Create an API token and print it. Only its hash is stored, so it cannot be printed again."""
    from pipeline.cli.audited import note_action
    from pipeline.store.access import api_tokens
    store = open_stored(load_settings(settings_file))
    created = api_tokens.create(store, name, "read" if read_only else "full", now=datetime.now(UTC))
    note_action(store, "token create", f"token {name}")
    click.echo(created)
    click.echo(f"keep this {'read-only ' if read_only else ''}token, because it cannot be shown again; send it as the header "
               "Authorization: Bearer TOKEN", err=True)


@token.command("list")
@settings_option
@json_option
def token_list(settings_file: str, *, as_json: bool) -> None:
    """List the API tokens, with what they may do and when they were last used."""
    from pipeline.store.access import api_tokens
    settings = load_settings(settings_file)
    found = api_tokens.list_tokens(open_stored(settings))
    if as_json:
        click.echo(to_json([{"name": each.name, "scope": each.scope, "created": each.created_at, "last_used": each.last_used_at,
                             "revoked": each.revoked_at} for each in found]))
        return

    def shown(at: datetime | None) -> str:
        return f"{at.astimezone(settings.zone):%Y-%m-%d %H:%M}" if at is not None else "never"

    for each in found:
        click.echo(f"{each.name:<24}  {_state(each):<9}  created {shown(each.created_at)}  last used {shown(each.last_used_at)}"
                   + (f"  revoked {shown(each.revoked_at)}" if each.revoked_at is not None else ""))
    if not found:
        click.echo("there is no API token; `pipeline token create NAME` creates one")


@token.command("revoke")
@settings_option
@click.argument("name")
def token_revoke(settings_file: str, name: str) -> None:
    """Revoke an API token. A running service refuses it within a second."""
    from pipeline.cli.audited import note_action
    from pipeline.settings import nearest
    from pipeline.store.access import api_tokens
    store = open_stored(load_settings(settings_file))
    if not api_tokens.revoke(store, name, now=datetime.now(UTC)):
        names = [each.name for each in api_tokens.valid_tokens(store)]
        raise UsageError(f"no valid token is named {name!r}{nearest(name, names)}", where="token revoke", fix=f"known: {', '.join(sorted(names)) or 'none'}")
    note_action(store, "token revoke", f"token {name}")
    click.echo(f"{name}: revoked")


@click.command()
@settings_option
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10000), help="Print at most this many entries.")
@click.option("--who", metavar="NAME", help="Print only what was done with this token, or by this user of commands.")
@json_option
def audit(settings_file: str, limit: int, who: str | None, *, as_json: bool) -> None:
    """Print who did what, from where, and with which outcome, the newest last. Entries are kept for a year."""
    from pipeline.store.access import audit_log
    settings = load_settings(settings_file)
    for entry in audit_log.entries(open_stored(settings), limit=limit, who=who):
        click.echo(to_json(audit_log.fields(entry)) if as_json else
                   f"{entry.at.astimezone(settings.zone):%Y-%m-%d %H:%M:%S}  "
                   + escape_line(f"{entry.who} ({entry.source})  {entry.action} {entry.target}: {entry.outcome}"))


def _state(found: ApiToken) -> str:
    return "revoked" if found.revoked_at is not None else "read-only" if found.scope == "read" else "full"
