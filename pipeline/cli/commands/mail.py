"""`pipeline digest`, `outbox` and `mail`: send digests, list and retry messages, test the mail server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import (
    GroupWithDefault,
    complete_digests,
    json_option,
    load_settings,
    open_stored,
    settings_option,
    to_json,
)
from pipeline.cli.times import end_of, end_options
from pipeline.errors import UsageError
from pipeline.text import escape_line, iso, size_for_people

if TYPE_CHECKING:
    from pipeline.settings import Settings

_TIMES = ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"]


@click.group(cls=GroupWithDefault)
def digest() -> None:
    """Preview or send a digest (`deliver`, the default), or mute it for a time."""


@digest.command("deliver")
@settings_option
@click.argument("name", shell_complete=complete_digests)
@click.option("--preview", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write the digest as .eml, .html and .txt to DIR, and change nothing.")
@click.option("--since", type=click.DateTime(_TIMES), help="With --preview or --send: report all runs that ended at this time (UTC) or later, also those that were reported before.")
@click.option("--send", is_flag=True, help="Build and deliver the digest now.")
@click.option("--again", is_flag=True, help="Send the last digest again.")
@click.option("--to", "addresses", metavar="ADDRESS", multiple=True, help="With --again or --since: send only to this recipient of the digest.")
def digest_deliver(settings_file: str, name: str, preview: Path | None, since: datetime | None, addresses: tuple[str, ...], *, send: bool, again: bool) -> None:
    """Preview or send a digest."""
    from pipeline.cli.audited import note_action
    from pipeline.cli.deliveries import send_again, send_digest
    from pipeline.cli.running_service import service_with_these_settings
    from pipeline.cli.service_digest import send_by_service
    from pipeline.mail.digests.preview import preview as preview_digest
    from pipeline.session.picture_fetcher import PictureFetcher
    settings = load_settings(settings_file)
    _check_digest(settings, name)
    if [send, preview is not None, again].count(True) != 1:
        raise UsageError("give one of --preview DIR, --send and --again", where="digest")
    if again and since is not None:
        raise UsageError("--again sends the last digest again, so --since has no effect", where="digest", fix="use --send --since to report all runs of a period again")
    if addresses and (preview is not None or not (again or since)):
        raise UsageError("--to can be used only with --again or --send --since, because a new digest goes to all its recipients", where="digest")
    chosen = _recipients_of(settings, name, addresses)
    store = open_stored(settings)
    day = since.replace(tzinfo=UTC) if since else None
    if again or (send and since):
        raise SystemExit(send_again(store, settings, name, since=day, recipients=chosen, say=click.echo))
    if preview is not None:
        for path in preview_digest(store, settings, name, preview, now=datetime.now(UTC), since=day, fetch_pictures=PictureFetcher(store, settings),
                                   say=lambda text: click.echo(f"{name}: {text}", err=True)):
            click.echo(str(path))
        if settings.digests[name].sends_individually:
            click.echo("some recipients get a message of their own; the files show the message to the first of them", err=True)
        return
    service = service_with_these_settings(settings, otherwise="builds and delivers the digest itself")
    if service is not None:
        raise SystemExit(send_by_service(service, store, settings, name, say=click.echo))
    note_action(store, "send", f"digest {name}")
    raise SystemExit(send_digest(store, settings, name, say=click.echo))


@digest.command("mute")
@settings_option
@click.argument("name", shell_complete=complete_digests)
@end_options
def digest_mute(settings_file: str, name: str, until: str | None, lasts: str | None) -> None:
    """Send nothing of a digest until a time. Nothing is lost: the first digest afterwards reports everything since the last one."""
    from pipeline.cli.audited import note_action
    from pipeline.store.mail import digest_mutes
    settings = load_settings(settings_file)
    _check_digest(settings, name)
    now = datetime.now(UTC)
    ends = end_of(until, lasts, now=now, zone=settings.zone)
    if ends is None:
        raise click.UsageError("give --until TIME or --for DURATION")
    store = open_stored(settings)
    digest_mutes.mute(store, name, until=ends)
    note_action(store, "mute", f"digest {name}")
    click.echo(f"{name}: muted until {ends.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}")


@digest.command("unmute")
@settings_option
@click.argument("name", shell_complete=complete_digests)
def digest_unmute(settings_file: str, name: str) -> None:
    """End the mute of a digest. A running service sends what is due within a minute."""
    from pipeline.cli.audited import note_action
    from pipeline.store.mail import digest_mutes
    settings = load_settings(settings_file)
    _check_digest(settings, name)
    store = open_stored(settings)
    was_muted = digest_mutes.unmute(store, name)
    note_action(store, "unmute", f"digest {name}")
    click.echo(f"{name}: {'unmuted' if was_muted else 'was not muted'}")


def _check_digest(settings: Settings, name: str) -> None:
    """Raise UsageError if the settings have no such digest."""
    from pipeline.settings import nearest
    if name not in settings.digests:
        raise UsageError(f"no digest named {name!r}{nearest(name, settings.digests)}", where=settings.file,
                         fix=f"known: {', '.join(settings.digests) or 'none'}")


def _recipients_of(settings: Settings, name: str, addresses: tuple[str, ...]) -> list[str]:
    """Return the bare forms of these addresses. Raises UsageError for an address that is not a recipient of the digest."""
    from pipeline.settings import nearest
    from pipeline.settings.fields.addresses import bare_address
    table = settings.digests[name]
    everyone = [bare_address(each) for recipients in (table, *table.groups) for each in recipients.everyone]
    known = {address.casefold(): address for address in everyone} | {address: address for address in everyone}
    chosen = [bare_address(address) for address in addresses]
    for address in chosen:
        if address not in known and address.casefold() not in known:
            more = f" and {len(set(everyone)) - 10} more" if len(set(everyone)) > 10 else ""
            raise UsageError(f"{address or 'this text'} is not a recipient of the digest {name}{nearest(address, everyone)}", where="--to",
                             fix=f"known: {', '.join([*dict.fromkeys(everyone)][:10])}{more}")
    return [known.get(address) or known[address.casefold()] for address in chosen]


def _settings_of_outbox(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --settings to a subcommand of `outbox`. The option may also stand before the subcommand."""
    @click.option("--settings", "own_file", metavar="FILE", help="Path of the settings file.")
    @click.pass_obj
    @wraps(command)
    def with_settings(file_of_group: str, /, *, own_file: str | None, **options: Any) -> Any:
        return command(load_settings(own_file or file_of_group), **options)

    return with_settings


@click.group(invoke_without_command=True)
@settings_option
@click.pass_context
def outbox(ctx: click.Context, settings_file: str) -> None:
    """List the messages that were not sent, with the reasons."""
    ctx.obj = settings_file
    if ctx.invoked_subcommand is None:
        ctx.invoke(outbox_list)


@outbox.command("list")
@click.option("--sent", is_flag=True, help="List the messages that were sent, the newest last.")
@click.option("--refused", is_flag=True, help="List only the addresses that were refused for good, until somebody marks them as seen.")
@json_option
@_settings_of_outbox
def outbox_list(settings: Settings, *, sent: bool = False, refused: bool = False, as_json: bool = False) -> None:
    """List the messages that are waiting or parked, and the addresses that were refused for good."""
    from pipeline.cli.refused_lines import refused_json, refused_lines
    from pipeline.model import MessageState
    from pipeline.store.mail import outbox as stored
    if sent and refused:
        raise UsageError("give either --sent or --refused", where="outbox list")
    if refused:
        store = open_stored(settings)
        click.echo(to_json(refused_json(store, settings.zone)) if as_json else
                   "\n".join(refused_lines(store, settings.zone)) or "no address is refused")
        return
    states = (MessageState.SENT,) if sent else (MessageState.WAITING, MessageState.PARKED)
    store = open_stored(settings)
    messages = stored.list_messages(store, states)
    accepted = stored.accepted_recipients(store, [message.id for message in messages])
    if as_json:
        click.echo(to_json([{
            "id": message.id, "state": message.state.value, "subject": message.subject, "waiting_for": list(message.recipients),
            "accepted_for": accepted.get(message.id, []), "created_at": iso(message.created_at, settings.zone), "attempts": message.attempt, "size_bytes": message.size_bytes,
            "sent_at": iso(message.sent_at, settings.zone) if message.sent_at else None, "error": message.last_error}
            for message in messages]))
        return
    for message in messages:
        at = (message.sent_at or message.created_at).astimezone(settings.zone)
        to = accepted.get(message.id, []) if sent else message.recipients
        click.echo(f"{message.id}  {message.state.value}  {at:%Y-%m-%d %H:%M}  " + (f"to {', '.join(to)}  " if to else "") + f"“{message.subject}”"
                   + (f"  {message.last_error}" if message.last_error else ""))
    refused_now = [] if sent else list(refused_lines(store, settings.zone))
    for line in refused_now:
        click.echo(line)
    if not messages and not refused_now:
        click.echo("no message was sent" if sent else "no message is waiting or parked, and no address is refused", err=True)


@outbox.command("show")
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@_settings_of_outbox
def outbox_show(settings: Settings, number: int) -> None:
    """Show one message with its recipients and every attempt."""
    from pipeline.store.mail import outbox as stored
    found = stored.get(open_stored(settings), number)
    if found is None:
        raise UsageError(f"there is no message with the number {number}", where="outbox")
    message, recipients, attempts = found
    click.echo(f"{message.subject}\n{message.state.value}, {size_for_people(message.size_bytes)}, {message.message_id}")
    for entry in recipients:
        state = "accepted" if entry.accepted else "waiting" if entry.retry else "refused"
        click.echo(f"  {entry.address}: {state}" + (f" ({entry.code} {entry.text})" if entry.code else ""))
    for at, attempt, error in attempts:
        click.echo(f"  attempt {attempt} at {at.astimezone(settings.zone):%Y-%m-%d %H:%M:%S}: {error or 'delivered'}")


@outbox.command("retry")
@click.argument("number", type=click.IntRange(1, 2**63 - 1), required=False)
@click.option("--all", "retry_all", is_flag=True, help="Try again with every waiting or parked message.")
@_settings_of_outbox
def outbox_retry(settings: Settings, number: int | None, *, retry_all: bool) -> None:
    """Try again now to deliver a waiting or parked message."""
    from pipeline.cli.audited import note_action
    from pipeline.cli.deliveries import deliver_now
    from pipeline.heartbeat.http.operations import outbox as operations
    if (number is None) is not retry_all:
        raise UsageError("give either the number of a message or --all", where="outbox retry")
    store = open_stored(settings)
    now = datetime.now(UTC)
    with _naming_the_list():
        retried = operations.retry_all(store, now=now, most=None) if number is None else [number]
        if number is not None:
            operations.retry(store, number, now=now)
    if not retried:
        click.echo("no message is waiting or parked")
        return
    for each in retried:
        note_action(store, "retry", f"message {each}")
    raise SystemExit(deliver_now(store, settings, say=click.echo))


@outbox.command("rebuild")
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@_settings_of_outbox
def outbox_rebuild(settings: Settings, number: int) -> None:
    """Build the digest of a parked message again with less, and deliver it."""
    from pipeline.cli.audited import note_action
    from pipeline.cli.deliveries import deliver_now
    from pipeline.heartbeat.http.operations import outbox as operations
    store = open_stored(settings)
    with _naming_the_list():
        less = operations.rebuild(store, number, now=datetime.now(UTC))
    note_action(store, "rebuild", f"message {number}")
    click.echo(f"the digest of message {number} is built again with {less}")
    raise SystemExit(deliver_now(store, settings, say=click.echo))


@outbox.command("drop")
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@_settings_of_outbox
def outbox_drop(settings: Settings, number: int) -> None:
    """Drop a message, so that it is never sent."""
    from pipeline.cli.audited import note_action
    from pipeline.heartbeat.http.operations import outbox as operations
    store = open_stored(settings)
    with _naming_the_list():
        operations.drop(store, number, now=datetime.now(UTC))
    note_action(store, "drop", f"message {number}")
    click.echo(f"message {number} was dropped and will not be sent")


@contextmanager
def _naming_the_list() -> Iterator[None]:
    """Name the command that lists the messages in an error about a message."""
    try:
        yield
    except UsageError as error:
        raise UsageError(error.what, where=error.where, fix="list the messages with `pipeline outbox`") from error


@outbox.command("seen")
@click.argument("which", required=False, metavar="[N|ADDRESS]")
@click.option("--all", "mark_all", is_flag=True, help="Mark every refused address as seen.")
@_settings_of_outbox
def outbox_seen(settings: Settings, which: str | None, *, mark_all: bool) -> None:
    """Mark addresses that the mail server refused for good as seen: those of message N, or one ADDRESS."""
    from pipeline.store.mail.refused_addresses import mark_seen
    if (which is None) is not mark_all:
        raise UsageError("give the number of a message, an address or --all", where="outbox seen")
    number = int(which) if which is not None and which.isdecimal() else None
    if number is not None and number >= 2**63:
        raise UsageError(f"there is no message with the number {number}", where="outbox seen")
    marked = mark_seen(open_stored(settings), now=datetime.now(UTC), message_id=number, address=which if number is None else None)
    if not marked and which is not None:
        what = f"no address was refused for message {which}" if number is not None else f"{which} was not refused"
        raise UsageError(f"{what}, or it is already marked as seen", where="outbox seen", fix="list the refused addresses with `pipeline outbox`")
    click.echo(f"marked as seen: {', '.join(map(escape_line, marked))}" if marked else "no address is refused")


@click.group()
def mail() -> None:
    """Test the mail server, or log in to it."""


@mail.command("test")
@settings_option
@click.option("--to", "address", required=True, metavar="ADDR")
@click.option("--debug", is_flag=True, help="Show the SMTP dialogue with secrets masked.")
def mail_test(settings_file: str, address: str, *, debug: bool) -> None:
    """Send a test message."""
    from pipeline.cli.deliveries import send_test
    from pipeline.settings.fields.scalars import is_address
    settings = load_settings(settings_file)
    if not is_address(address):
        raise UsageError(f"{address!r} is not an e-mail address", where="--to")
    click.echo(send_test(settings, address, dialogue=sys.stderr if debug else None))


@mail.command("login")
@settings_option
def mail_login(settings_file: str) -> None:
    """Log in to the mail server with OAuth2 in a browser. This is needed only once."""
    from pipeline.mail.transports.oauth2 import log_in
    settings = load_settings(settings_file)
    click.echo(f"the login succeeded; the refresh token was saved to {log_in(settings.mail, say=click.echo)}")
