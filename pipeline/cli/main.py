"""The commands. Each imports what it needs when it runs, so that `pipeline --help` answers at once."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import __version__
from pipeline.errors import PipelineError, UsageError
from pipeline.registry import ATTACHMENT_FORMATS
from pipeline.text import counted, escape_controls

if TYPE_CHECKING:
    from pipeline.model import Run
    from pipeline.settings import Settings
    from pipeline.store import Store


class Pipeline(click.Group):
    """Turns errors into one line and their exit code; a traceback is for our own faults only."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            click.echo(escape_controls(str(error)), err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:  # whoever read us has read enough
            sys.stderr.close()
            ctx.exit(0)
        except OSError as error:  # of a path that somebody named; one of our own has a place where it is translated
            if error.filename is None:
                raise
            click.echo(escape_controls(f"{os.fsdecode(error.filename)}: {(error.strerror or str(error)).lower()}"), err=True)
            ctx.exit(UsageError.exit_code)


@click.group(cls=Pipeline, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pipeline")
@click.pass_context
def main(context: click.Context) -> None:
    """Scheduled crawls, streamed downloads, e-mailed digests, and a heartbeat that tells the truth."""
    if context.invoked_subcommand not in ("init", "new"):  # what those make is for an editor, and a repository
        os.umask(0o077)  # all else may hold what a login showed: folders are 0700 and files 0600, whatever the umask


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--settings", "settings_file", default="settings.toml", show_default=True,
                        metavar="FILE", help="The settings file.")(command)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")


def _load(settings_file: str) -> Settings:
    from pipeline.settings import load
    return load(settings_file)


def _open(settings: Settings) -> Store:
    from pipeline.store import open_store
    return open_store(settings.data_dir, settings.database_url)


def _spider(settings: Settings, name: str) -> str:
    """The name of a spider of the settings. Raises UsageError naming the known ones."""
    from pipeline.settings import nearest
    if name not in settings.spiders:
        known = ", ".join(settings.spiders) or "none"
        raise UsageError(f"no spider named {name!r}{nearest(name, settings.spiders)}", where=settings.file,
                         fix=f"known: {known}")
    return name


def _json(value: Any) -> str:
    import json
    return json.dumps(value, ensure_ascii=False, default=str)


# The service and its children


@contextmanager
def _starting() -> Iterator[None]:
    """What a start loads stays: to look through it for garbage again and again takes a fifth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@main.command()
@settings_option
@click.option("--once", is_flag=True, help="Do what is due, deliver what came of it, and end.")
def serve(settings_file: str, *, once: bool) -> None:
    """Run triggers, outbox and heartbeat until SIGTERM or Ctrl-C."""
    with _starting():
        import asyncio

        import uvloop

        from pipeline import logs
        from pipeline.service import serve as serve_until_stopped
        from pipeline.settings.masking import Mask

        def configure_logs(settings: Settings) -> None:
            logs.configure(sys.stderr, mask=Mask.of(settings), level=settings.logs.level, parts=settings.logs.parts)

        settings = _load(settings_file)
        configure_logs(settings)
    # uvloop answers twice as many questions for the same CPU time (benchmarks/heartbeat.py).
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise SystemExit(runner.run(serve_until_stopped(settings, once=once, show_progress=sys.stderr.isatty(),
                                                    configure_logs=configure_logs)))


@main.command()
@settings_option
@click.argument("spiders", nargs=-1, metavar="SPIDER...")
@click.option("--all", "every", is_flag=True, help="Every spider of the settings.")
@click.option("--dry-run", is_flag=True, help="Show the items as JSON lines, and change nothing.")
@json_option
def run(settings_file: str, spiders: tuple[str, ...], *, every: bool, dry_run: bool, as_json: bool) -> None:
    """Run spiders now, in the foreground, with live progress."""
    if bool(spiders) == every:
        raise UsageError("name the spiders to run, or --all", where="run")
    from pipeline.workers.forkserver import warm_up
    warm_up()  # first: a run waits for it; should the settings be wrong, it ends with us
    with _starting():
        import asyncio

        from pipeline.cli.run import run_now
        from pipeline.run_summary import ended_line
        settings = _load(settings_file)
    names = list(settings.spiders) if every else [_spider(settings, name) for name in dict.fromkeys(spiders)]
    if dry_run:
        from pipeline.cli.spiders import dry_run as rehearse
        ended = rehearse(settings, names, out=click.echo, show=sys.stderr)
        for entry in ended:
            click.echo(ended_line(entry), err=True)
        raise SystemExit(_exit_code(ended))
    store = _open(settings)
    ended = asyncio.run(run_now(store, settings, names, show=sys.stderr))
    if as_json:
        click.echo(_json([_run_json(entry) for entry in ended]))
    else:
        for entry in ended:
            click.echo(ended_line(entry))
    raise SystemExit(_exit_code(ended))


@main.command("try")
@settings_option
@click.argument("spider")
@click.argument("url")
@json_option
def try_page(settings_file: str, spider: str, url: str, *, as_json: bool) -> None:
    """Fetch URL with a spider's session and show what each of its rules matches."""
    from pipeline.cli.spiders import trial_lines, try_rules
    settings = _load(settings_file)
    table = settings.spiders[_spider(settings, spider)]
    if ":" in table.spider:
        raise UsageError("is a Python spider and has no rules to try", where=f"spiders.{spider}",
                         fix=f"see its items with `pipeline run {spider} --dry-run`")
    found = try_rules(settings, spider, url)
    for line in [_json(found)] if as_json else trial_lines(found):
        click.echo(line)


@main.group()
def new() -> None:
    """Write a new spider."""


@new.command("spider")
@settings_option
@click.argument("name")
def new_spider(settings_file: str, name: str) -> None:
    """Write spiders/NAME.py beside the settings file, and print the table to add to it."""
    from pipeline.cli.spiders import new_spider as write
    path, table = write(Path(settings_file).absolute().parent, name)
    click.echo(f"wrote {path}; add this to {settings_file}:\n\n{table}")


def _exit_code(ended: list[Run]) -> int:
    """0 when every run succeeded; the error family's code when all failures share one; else 1."""
    from pipeline.errors import family
    from pipeline.model import Outcome
    codes = {family(entry.error_kind).exit_code for entry in ended if entry.outcome is not Outcome.SUCCEEDED}
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def _run_json(entry: Run) -> dict[str, Any]:
    from dataclasses import asdict
    return {
        "run": entry.id, "pass": entry.pass_id, "spider": entry.spider, "reason": entry.reason,
        "due": entry.due_at, "started": entry.started_at, "ended": entry.ended_at,
        "outcome": entry.outcome.value if entry.outcome else None, "complete": entry.complete,
        "suspect": entry.suspect, "error": entry.error, "error_kind": entry.error_kind,
        "progress": asdict(entry.progress),
    }


# Settings


@main.command()
@settings_option
@click.option("--connect", is_flag=True, help="Also try logins, proxies, the mail server and the database.")
def check(settings_file: str, *, connect: bool) -> None:
    """Report every problem of the settings at once."""
    settings = _load(settings_file)
    click.echo(f"{settings.file}: {counted(len(settings.spiders), 'spider')}, {counted(len(settings.digests), 'digest')}: no problems")
    if connect:
        from pipeline.cli.foreground import try_connections
        failures = 0
        for what, error in try_connections(settings):
            click.echo(f"{what}: {error or 'ok'}")
            failures += error is not None
        raise SystemExit(1 if failures else 0)


@main.command()
@click.argument("folder", default=".", metavar="[FOLDER]")
def init(folder: str) -> None:
    """Write a commented settings.toml and a folder for your own spiders."""
    from importlib import resources
    target = Path(folder, "settings.toml")
    if target.exists():
        raise UsageError("is already there; it stays as it is", where=str(target))
    packaged = resources.files("pipeline") / "settings.toml"
    source = packaged if packaged.is_file() else Path(__file__).parents[2] / "settings.toml"
    Path(folder, "spiders").mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text("utf-8"), "utf-8")
    click.echo(f"wrote {target}; start with `pipeline serve --settings {target}`")


@main.command()
def schema() -> None:
    """Print the JSON Schema of settings.toml."""
    import json

    from pipeline.settings import schema as settings_schema
    click.echo(json.dumps(settings_schema(), indent=2))


# Asking the heartbeat


@main.command()
@settings_option
@json_option
def status(settings_file: str, *, as_json: bool) -> None:
    """Ask the heartbeat. Exits 0 ok, 1 degraded, 2 failing or unreachable, 3 unknown."""
    from pipeline.cli.foreground import ask_status, status_table
    try:
        settings = _load(settings_file)
        found = ask_status(settings)
    except PipelineError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2 if not isinstance(error, UsageError) else 3) from error
    click.echo(_json(found)) if as_json else status_table(found)
    raise SystemExit({"ok": 0, "degraded": 1, "failing": 2}.get(str(found.get("health")), 3))


@main.command()
@settings_option
@click.argument("text", nargs=-1)
@click.option("--udp", is_flag=True, help="Send a datagram instead.")
def ping(settings_file: str, text: tuple[str, ...], *, udp: bool) -> None:
    """Echo TEXT with a timestamp; without TEXT, each line of stdin until its end."""
    from pipeline.heartbeat.client import client_for
    client = client_for(_load(settings_file))
    if text and not udp:
        click.echo(client.ask(" ".join(text)))
        return
    lines = [" ".join(text)] if text else (line.rstrip("\r\n") for line in sys.stdin)
    answers = (client.ask_datagram(line) for line in lines) if udp else client.ask_lines(lines)
    for answer in answers:
        click.echo(answer)


@main.command()
@settings_option
def url(settings_file: str) -> None:
    """Print the link that opens the pages. It has the token in it: keep it to yourself."""
    from pipeline.heartbeat.addresses import pages_url
    from pipeline.heartbeat.token import load_or_create_token
    settings = _load(settings_file)
    if not settings.heartbeat.on_port:
        raise UsageError("there are no pages on a Unix socket", where="heartbeat.socket",
                         fix="give [heartbeat] host as well")
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    click.echo(pages_url(settings, load_or_create_token(settings.data_dir)))


# Digests and mail


@main.command()
@settings_option
@click.argument("name")
@click.option("--preview", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write .eml, .html and .txt into DIR and change nothing.")
@click.option("--since", type=click.DateTime(), help="With --preview: the runs since this day (UTC).")
@click.option("--send", is_flag=True, help="Build it and deliver it now.")
def digest(settings_file: str, name: str, preview: Path | None, since: datetime | None, *, send: bool) -> None:
    """Build a digest now."""
    from pipeline.cli.foreground import send_digest
    from pipeline.mail.digest import preview as preview_digest
    from pipeline.settings import nearest
    settings = _load(settings_file)
    if name not in settings.digests:
        raise UsageError(f"no digest named {name!r}{nearest(name, settings.digests)}", where=settings.file,
                         fix=f"known: {', '.join(settings.digests) or 'none'}")
    if send == (preview is not None):
        raise UsageError("say either --preview DIR or --send", where="digest")
    store = _open(settings)
    if preview is not None:
        day = since.replace(tzinfo=UTC) if since else None
        for path in preview_digest(store, settings, name, preview, now=datetime.now(UTC), since=day):
            click.echo(str(path))
        return
    raise SystemExit(send_digest(store, settings, name, say=click.echo))


@main.group(invoke_without_command=True)
@settings_option
@click.pass_context
def outbox(ctx: click.Context, settings_file: str) -> None:
    """What has not been sent, and why."""
    ctx.obj = _load(settings_file)
    if ctx.invoked_subcommand is None:
        ctx.invoke(outbox_list)


@outbox.command("list")
@click.pass_obj
def outbox_list(settings: Settings) -> None:
    """Messages that wait or are parked."""
    from pipeline.store.mail import outbox as stored
    for message in stored.list_messages(_open(settings)):
        click.echo(f"{message.id}  {message.state.value}  {message.created_at.astimezone(settings.zone):%Y-%m-%d %H:%M}  "
                   f"to {', '.join(message.recipients)}  “{message.subject}”"
                   + (f"  {message.last_error}" if message.last_error else ""))


@outbox.command("show")
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@click.pass_obj
def outbox_show(settings: Settings, number: int) -> None:
    """One message: its recipients and every attempt."""
    from pipeline.store.mail import outbox as stored
    found = stored.get(_open(settings), number)
    if found is None:
        raise UsageError(f"there is no message {number}", where="outbox")
    message, recipients, attempts = found
    click.echo(f"{message.subject}\n{message.state.value}, {message.size_bytes} bytes, {message.message_id}")
    for entry in recipients:
        state = "accepted" if entry.accepted else "waiting" if entry.retry else "refused"
        click.echo(f"  {entry.address}: {state}" + (f" ({entry.code} {entry.text})" if entry.code else ""))
    for at, attempt, error in attempts:
        click.echo(f"  attempt {attempt} at {at.astimezone(settings.zone):%Y-%m-%d %H:%M:%S}: {error or 'delivered'}")


@outbox.command("retry")
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@click.pass_obj
def outbox_retry(settings: Settings, number: int) -> None:
    """Try a waiting or parked message again now."""
    from pipeline.cli.foreground import deliver_now
    from pipeline.store.mail import outbox as stored
    store = _open(settings)
    if not stored.retry(store, number, now=datetime.now(UTC)):
        raise UsageError(f"no message {number} is waiting or parked", where="outbox")
    raise SystemExit(deliver_now(store, settings, say=click.echo))


@outbox.command("drop")
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@click.pass_obj
def outbox_drop(settings: Settings, number: int) -> None:
    """Give up on a message."""
    from pipeline.store.mail import outbox as stored
    if not stored.drop(_open(settings), number):
        raise UsageError(f"no message {number} is waiting or parked", where="outbox")
    click.echo(f"message {number} dropped")


@main.group()
def mail() -> None:
    """The mail server."""


@mail.command("test")
@settings_option
@click.option("--to", "address", required=True, metavar="ADDR")
@click.option("--debug", is_flag=True, help="Show the SMTP dialogue, secrets masked.")
def mail_test(settings_file: str, address: str, *, debug: bool) -> None:
    """Send a test message."""
    from pipeline.cli.foreground import send_test
    from pipeline.settings.fields.scalars import is_address
    settings = _load(settings_file)
    if not is_address(address):
        raise UsageError(f"{address!r} is no e-mail address", where="--to")
    click.echo(send_test(settings, address, dialogue=sys.stderr if debug else None))


@mail.command("login")
@settings_option
def mail_login(settings_file: str) -> None:
    """Log in to the mail server with OAuth2, in a browser, once."""
    from pipeline.mail.transports.oauth2 import log_in
    settings = _load(settings_file)
    click.echo(f"the login is kept in {log_in(settings.mail, say=click.echo)}")


# Looking at what is stored


@main.command()
@settings_option
@click.argument("spider", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10000))
@json_option
def history(settings_file: str, spider: str | None, limit: int, *, as_json: bool) -> None:
    """Past runs, the newest first."""
    from pipeline.run_summary import ended_line
    from pipeline.store.runs import runs
    settings = _load(settings_file)
    if spider is not None:
        _spider(settings, spider)
    found = runs.history(_open(settings), spider, limit=limit)
    if as_json:
        click.echo(_json([_run_json(entry) for entry in found]))
        return
    for entry in found:
        at = (entry.started_at or entry.created_at).astimezone(settings.zone)
        click.echo(f"{at:%Y-%m-%d %H:%M:%S}  {ended_line(entry)}")


@main.command("next")
@settings_option
@json_option
def next_slots(settings_file: str, *, as_json: bool) -> None:
    """Each schedule in words, and when it is due next."""
    from dataclasses import asdict

    from pipeline.schedule.agenda import agenda
    settings = _load(settings_file)
    found = agenda(_open(settings), settings, now=datetime.now(UTC))
    if as_json:
        click.echo(_json([asdict(entry) for entry in found]))
        return
    for entry in found:
        when = "paused" if entry.paused else f"{entry.next.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}" if entry.next else "-"
        written = f"  ({entry.schedule})" if entry.schedule else ""
        held = f"; its host asks to be left alone until {entry.paused_until.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}" \
            if entry.paused_until else ""
        click.echo(f"{when:<24}  {entry.kind} {entry.name}{written}  {entry.words}{held}")


@main.command()
@settings_option
@click.argument("spider")
@click.option("--format", "form", type=click.Choice([*ATTACHMENT_FORMATS]), default="jsonl", show_default=True)
@click.option("--changes", is_flag=True, help="What changed, instead of what is there.")
@click.option("--rejects", is_flag=True, help="What was kept aside, with the reason and the page.")
@click.option("--key", help="Only this item; with --changes, its history.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of stdout.")
def items(settings_file: str, spider: str, form: str, key: str | None, output: Path | None, *, changes: bool,
          rejects: bool) -> None:
    """What is stored of a spider."""
    from pipeline.cli.foreground import export
    settings = _load(settings_file)
    store = _open(settings)
    if rejects:
        from pipeline.store.crawl import items as stored
        for entry in stored.rejected(store, _spider(settings, spider), key=key):
            click.echo(_json({"at": entry.at.isoformat(), "run": entry.run_id, "url": entry.url, "reason": entry.reason,
                              "data": entry.data}))
        return
    export(store, _spider(settings, spider), form=form, changes=changes, output=output, key=key)


# Care


@main.command()
@settings_option
@click.option("--offline", is_flag=True, help="Leave out what needs the network: proxies, logins, the mail server.")
@json_option
def doctor(settings_file: str, *, offline: bool, as_json: bool) -> None:
    """One page of what is wrong, each with its fix. Exits 1 when something is."""
    from pipeline.cli.doctor import State, examine
    found = []
    for finding in examine(settings_file, now=datetime.now(UTC), connect=not offline):
        found.append(finding)
        if not as_json:
            mark = {State.OK: "ok", State.WARNING: "WARN", State.PROBLEM: "FAIL"}[finding.state]
            click.echo(f"{mark:4}  {finding.check}: {finding.found}" + (f"\n      {finding.fix}" if finding.fix else ""))
    problems = sum(finding.state is State.PROBLEM for finding in found)
    if as_json:
        click.echo(_json({"problems": problems, "findings": [vars(finding) for finding in found]}))
    else:
        warnings = sum(finding.state is State.WARNING for finding in found)
        click.echo(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}")
    raise SystemExit(1 if problems else 0)


@main.command()
@settings_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(settings_file: str, file: Path) -> None:
    """Write the database and its files into one archive, while everything goes on."""
    from pipeline.cli.data import back_up
    click.echo(back_up(_load(settings_file), file))


@main.command()
@settings_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Over data that is there; it is kept beside the new.")
@click.option("--resend", is_flag=True, help="Send what waited in the outbox then, even if it was sent since.")
def restore(settings_file: str, file: Path, *, replace: bool, resend: bool) -> None:
    """Put a backup in the place of what is there."""
    from pipeline.cli.data import restore as restore_backup
    for line in restore_backup(_load(settings_file), file, replace=replace, resend=resend):
        click.echo(line)


@main.command()
@settings_option
def prune(settings_file: str) -> None:
    """Delete what [retention] no longer keeps, as the service does once an hour."""
    from pipeline.cli.data import prune as prune_store
    click.echo(prune_store(_load(settings_file)))


# Sessions


@main.command()
@settings_option
@click.option("--fresh", is_flag=True, help="Log in again, though the session still holds.")
@click.argument("spider")
def login(settings_file: str, spider: str, *, fresh: bool) -> None:
    """Try a spider's login."""
    from pipeline.session import UNCHECKABLE, open_session
    settings = _load(settings_file)
    table = settings.spiders[_spider(settings, spider)]
    if table.login is None:
        raise UsageError("has no [login] table", where=f"spiders.{spider}")
    session = open_session(spider, table, settings)
    made = session.ensure_login(fresh=fresh)
    held = "the imported cookies hold" if not table.login.sends else \
        "the session still holds; the password was not tried (--fresh tries it)"
    click.echo(f"{spider}: {'logged in' if made else held}; {counted(len(session.jar.alive()), 'cookie')} in its jar")
    if not session.checkable:
        click.echo(f"{spider}: {UNCHECKABLE}")


@main.group()
def cookies() -> None:
    """A spider's cookie jar."""


@cookies.command("import")
@settings_option
@click.argument("spider")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def cookies_import(settings_file: str, spider: str, file: Path) -> None:
    """Bring in a browser's cookies: cookies.txt, a Cookie header, or a JSON export."""
    from pipeline.session import open_session
    settings = _load(settings_file)
    table = settings.spiders[_spider(settings, spider)]
    session = open_session(spider, table, settings)
    count = session.bring_in(file, table.start[0].url if table.start else (table.login and table.login.url) or "")
    click.echo(f"{spider}: {count} cookies brought in")


@cookies.command("show")
@settings_option
@click.argument("spider")
def cookies_show(settings_file: str, spider: str) -> None:
    """The cookies of a spider, values masked, and when each expires."""
    from pipeline.session import describe, open_session
    settings = _load(settings_file)
    session = open_session(spider, settings.spiders[_spider(settings, spider)], settings)
    for cookie in describe(session.jar, datetime.now(UTC)):
        if cookie.expires is None:
            ends = "ends with the browser session"
        else:
            verb = "expired" if cookie.expired else "expires"
            ends = f"{verb} {cookie.expires.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}"
        click.echo(f"{cookie.domain}{cookie.path}  {cookie.name} = {cookie.value}  {ends}  {' '.join(cookie.flags)}")
