"""`pipeline import` and `import-scrapy`.

Turn jobs of other programs, and spiders of Scrapy projects, into settings.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipeline.cli.options import settings_option
from pipeline.errors import UsageError
from pipeline.registry import IMPORT_FORMATS, load
from pipeline.text import counted, escape_controls

if TYPE_CHECKING:
    from pipeline.cli.imports.imported import Imported
    from pipeline.settings import Settings


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
            click.option("--name", metavar="NAME", help="Name of the file in settings.d and of the digest. Default: the format."),
            click.option("--to", multiple=True, metavar="ADDRESS", help="Recipient of the digest. Can be repeated."),
            click.option("--write", "writes", is_flag=True, help="Write settings.d/NAME.toml instead of printing it. No file is overwritten.")):
        command = option(command)
    return settings_option(command)


@click.command("import")
@_options
@click.argument("kind", type=click.Choice(list(IMPORT_FORMATS)), metavar="KIND")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE",
              help="Configuration of the other program. Default: the file with its usual name beside FILE.")
@click.option("--schedule", metavar="TEXT", default="every 6h", show_default=True, help="Schedule of jobs that have none of their own.")
def import_jobs(settings_file: str, kind: str, file: Path, *, config: Path | None, schedule: str, **options: Any) -> None:
    """Turn the jobs of another program into spiders: urlwatch, webchanges, changedetection or opml.

    What could not be carried over is listed by job and key, and is written as comments. Passwords and cookies of the file are
    never written: the settings refer to environment variables, which are listed.
    """
    from pipeline.cli.imports.imported import Imported
    found = load(IMPORT_FORMATS[kind])
    _check_schedule(schedule)
    if config is None and found.config and (file.parent / found.config).is_file():
        config = file.parent / found.config
        click.echo(f"note: {config} is read, too", err=True)
    settings = _settings(settings_file, needed=options["writes"])
    imported = Imported(kind, file.name, _taken(settings))
    found.read(file, config, imported)
    for spider in imported.spiders:
        spider.table.setdefault("schedule", schedule)
    _finish(imported, settings, **options)


@click.command("import-scrapy")
@_options
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--crontab", type=click.Path(path_type=Path), metavar="FILE",
              help="Take schedules and arguments from the lines of this crontab that start spiders with scrapy or scrapyd.")
@click.option("--schedule", metavar="TEXT", default="@daily", show_default=True, help="Schedule of the spiders, without --crontab.")
def import_scrapy(settings_file: str, path: Path, *, crontab: Path | None, schedule: str, **options: Any) -> None:
    """Turn the spiders of a Scrapy project into tables of the settings. PATH is the folder with scrapy.cfg.

    The project is loaded as `scrapy list` does, in a process of its own, which executes its code. It is not changed.
    """
    from pipeline.cli.imports.formats.scrapy_project import read_project
    from pipeline.cli.imports.imported import Imported
    _check_schedule(schedule)
    settings = _settings(settings_file, needed=options["writes"])
    imported = Imported("scrapy", str(path), _taken(settings))
    read_project(path, crontab, imported, settings_folder=Path(settings_file).absolute().parent, schedule=schedule)
    _finish(imported, settings, **options)


def _check_schedule(text: str) -> None:
    from pipeline.settings.fields.schedule import parse_when
    try:
        parse_when(text)
    except ValueError as error:
        raise UsageError(str(error), where="--schedule") from error


def _settings(settings_file: str, *, needed: bool) -> Settings | None:
    """Return the present settings; None if nothing is written, no file was named with --settings, and the default one does not exist."""
    from pipeline.cli.options import load_settings
    is_default = click.get_current_context().get_parameter_source("settings_file") is ParameterSource.DEFAULT
    if not needed and is_default and not Path(settings_file).exists():
        return None
    return load_settings(settings_file)


def _taken(settings: Settings | None) -> set[str]:
    return set() if settings is None else {*settings.spiders, *settings.proxies, *settings.digests}


def _finish(imported: Imported, settings: Settings | None, *, name: str | None, to: tuple[str, ...], writes: bool) -> None:
    """Print the file, or write it, and list what was not carried over."""
    from pipeline.cli.imports.output.check import leave_out_invalid, problems_of
    from pipeline.cli.imports.output.settings_file import digest_table, write
    from pipeline.cli.imports.output.toml_file import file_text
    from pipeline.settings.cross_checks import ENTRY_NAME
    name = name or imported.kind
    if not ENTRY_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid name", where="--name", fix="use at most 64 letters, digits, - and _, and begin with a letter or digit")
    missing = leave_out_invalid(imported)
    lines = [*(f"note: {text}" for text in imported.notes), *problems_of(imported)]
    if imported.is_empty:
        raise UsageError("\n".join(["nothing could be carried over", *lines]), where=imported.source)
    digest_name = imported.free_name(name, imported.kind)
    text = file_text(imported, digest_table(imported, settings, to), digest_name)
    if not writes:
        tomllib.loads(text)
        click.echo(escape_controls(text), nl=False)
    elif missing:
        raise UsageError("; ".join(missing), where=imported.source, fix="then import the file again; nothing was written")
    else:
        assert settings is not None
        click.echo(f"created {write(settings, name, text)}: {imported.summary()}")
    for line in [*lines, *missing]:
        click.echo(escape_controls(line), err=not writes)
    if imported.variables:
        click.echo(f"set {counted(len(imported.variables), 'environment variable')} before the first run, with the values of {imported.source}:", err=not writes)
    for variable, what in imported.variables.items():
        click.echo(escape_controls(f"  {variable}: {what}"), err=not writes)
    if writes:
        click.echo("next: `pipeline check`, then `pipeline reload` if the service is running, or `pipeline run NAME`")
