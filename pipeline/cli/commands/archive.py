"""`pipeline archive`: list what is archived, show a page at a time, export a spider."""

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
    settings_option,
    spider_name,
    to_json,
)
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    from pipeline.settings import Settings
    from pipeline.store import Store
    from pipeline.store.files.archive_files import ArchiveFile


def range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--until", metavar="DAY", help="The last day, such as 2026-12-31 (UTC).")(command)
    return click.option("--since", metavar="DAY", help="The first day, such as 2026-12-01 (UTC).")(command)


@click.group(cls=GroupWithDefault)
def archive() -> None:
    """List the archived pages of spiders (`list`, the default), show a page as it was, or export them."""


@archive.command("list")
@settings_option
@click.argument("spider", required=False, shell_complete=complete_spiders)
@range_options
@click.option("--url", "part", metavar="PART", help="List the records of the page with this URL, or the pages whose URL contains this text.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000), help="With --url: how many records or pages.")
@json_option
def archive_list(settings_file: str, spider: str | None, since: str | None, until: str | None, part: str | None, *, limit: int, as_json: bool) -> None:
    """List the files of the archive by day or, with --url, the records of a page, the newest first."""
    settings = load_settings(settings_file)
    store = open_stored(settings)
    first, last = _day(since, "--since"), _day(until, "--until")
    if part is None:
        from pipeline.store.files.archive_files import files_of
        if spider is not None:
            _known(store, settings, spider)
        found = files_of(store, spider, first_day=first, last_day=last)
        _say(settings, found, as_json=as_json, name=spider)
        return
    if spider is None or first or last:
        raise click.UsageError("--url needs the name of a spider, and --since and --until have no effect with it")
    _check_installed()
    _list_page(store, settings, _known(store, settings, spider), part, limit=limit, as_json=as_json)


def _list_page(store: Store, settings: Settings, spider: str, part: str, *, limit: int, as_json: bool) -> None:
    """Print the records of a page, or the pages whose URLs contain a text."""
    from pipeline.archive.reading.page_urls import archived_url, pages_with
    from pipeline.archive.reading.reader import captures
    named = archived_url(settings, spider, part)
    found = captures(store, spider, named, limit=limit) if "://" in part else []
    if found:
        rows = [{"at": each.at.isoformat(timespec="microseconds"), "url": each.url, "method": each.method, "status": each.status, "type": each.content_type, "digest": each.digest, "unchanged": each.is_revisit} for each in found]
        lines = [f"{_time(each.at, settings.zone)}  {each.status or '-':<3}  {'unchanged' if each.is_revisit else each.content_type:<10}  {each.digest}"
                 f"{'' if each.method == 'GET' else f'  {_safe(each.method)}'}{'' if each.url == named else f'  {_safe(each.url)}'}" for each in found]
    else:
        pages = pages_with(store, spider, part, limit=limit)
        rows = [{"url": url, "last": at.isoformat(timespec="microseconds")} for url, at in pages.urls]
        lines = [f"{_time(at, settings.zone)}  {_safe(url)}" for url, at in pages.urls]
        if pages.searched_to:
            click.echo(f"only the files since {pages.searched_to} were searched; --limit shows more", err=True)
    if as_json:
        click.echo(to_json(rows))
        return
    for line in lines:
        click.echo(line)
    if not lines:
        click.echo(f"{spider}: no archived page has {_safe(part)!r} in its URL", err=True)


def _say(settings: Settings, found: Sequence[ArchiveFile], *, as_json: bool, name: str | None) -> None:
    from pipeline.text import counted, size_for_people
    if as_json:
        names = ("spider", "day", "state", "key", "records", "size_bytes", "sha256", "oldest_day", "timestamped_at", "timestamp_error", "node")
        click.echo(to_json([{name: getattr(file, name) for name in names} for file in found]))
        return
    for file in found:
        stamped = f"timestamp {_time(file.timestamped_at, settings.zone)}" if file.timestamped_at else \
            f"no timestamp: {file.timestamp_error}" if file.timestamp_error else "no timestamp" if file.state == "day" else "the day is not closed yet"
        click.echo(f"{file.day}  {file.spider}  {counted(file.records, 'record')}  {size_for_people(file.size_bytes)}  {file.key}  {_safe(stamped)}")
    if not found:
        archiving = [spider for spider, table in settings.spiders.items() if table.archive is not None]
        click.echo(f"{name or 'archive'}: nothing is archived" + ("" if archiving else "; `archive = true` in the table of a spider archives its pages"), err=True)


@archive.command("show")
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@click.argument("url")
@click.option("--at", metavar="TIME", help='When, in the time zone of the settings: "2026-12-24 08:00", or a day, which means its end. The default is now.')
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead of stdout.")
@click.option("--headers", is_flag=True, help="Print the status and the headers of the response instead of its content.")
@click.option("--dom", is_flag=True, help="Print the page as the browser had built it (rendered pages).")
@click.option("--screenshot", is_flag=True, help="Write the picture that the browser took (rendered pages).")
@click.option("--record", is_flag=True, help="Write the record as it is stored, as a WARC file.")
def archive_show(settings_file: str, spider: str, url: str, at: str | None, output: Path | None, **what: bool) -> None:
    """Print one page as it was at one time: the last record up to then, or else the first one after it.

    Which record that is, and what was redacted, is printed to stderr. Exit code: 2 if the archive has no record of the page.
    """
    settings = load_settings(settings_file)
    _check_installed()
    from pipeline.archive.reading.instants import instant_of
    from pipeline.cli.archived_page import find, kind_of_output, write
    try:
        wanted = instant_of(at, settings.zone) if at is not None else datetime.now(UTC)
    except ValueError as error:
        raise click.UsageError(f"--at: {error}") from error
    kind = kind_of_output(**what)
    store = open_stored(settings)
    found = find(store, settings, _known(store, settings, spider), url, wanted)
    for line in found.lines(settings.zone, wanted if at is not None else None):
        click.echo(_safe(line), err=True)
    write(store, found, kind, output)


@archive.command("export")
@settings_option
@click.argument("spider", shell_complete=complete_spiders)
@range_options
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write, such as shop.wacz.")
def archive_export(settings_file: str, spider: str, since: str | None, until: str | None, output: Path) -> None:
    """Write the archive of a spider as one WACZ file, which replay tools such as ReplayWeb.page open."""
    settings = load_settings(settings_file)
    _check_installed()
    from pipeline.archive.reading.wacz import export
    from pipeline.text import counted, size_for_people
    store = open_stored(settings)
    done = export(store, _known(store, settings, spider), output, now=datetime.now(UTC), first_day=_day(since, "--since"), last_day=_day(until, "--until"))
    more = f", {done.referred} of them from earlier days, to which others refer" if done.referred else ""
    click.echo(f"{spider}: wrote {counted(done.records, 'record')} of {counted(done.files + done.referred, 'file')}{more} to {output} ({size_for_people(done.size_bytes)})")


def _check_installed() -> None:
    """Raise UsageError if the package that reads the files of the archive is not installed."""
    from pipeline.archive.installed import is_installed
    if not is_installed():
        raise UsageError("the archive needs the package warcio, which is not installed", fix="pip install 'crawl-to-inbox[archive]'")


def _known(store: Store, settings: Settings, spider: str) -> str:
    """Return the name of a spider that is in the settings, or of which something is archived. Raises UsageError."""
    from pipeline.store.files.archive_files import files_of
    return spider if spider not in settings.spiders and files_of(store, spider) else spider_name(settings, spider)


def _day(text: str | None, option: str) -> str:
    if text is None:
        return ""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError as error:
        raise click.UsageError(f"{option}: {text!r} is not a day; write one as 2026-12-24") from error


def _time(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _safe(text: str) -> str:
    from pipeline.text import escape_line
    return escape_line(text)
