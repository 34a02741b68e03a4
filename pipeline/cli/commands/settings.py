"""`pipeline check`, `init` and `schema`: check settings.toml, create it, and print its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import settings_option
from pipeline.errors import UsageError
from pipeline.text import counted, escape_line

if TYPE_CHECKING:
    from pipeline.cli.settings_check import CheckedSettings

_COMMENT_COLUMN = 45
"""The column at which comments begin in starter.toml."""


@click.command()
@settings_option
@click.option("--connect", is_flag=True, help="Also try the database, the port, the proxies, the logins, the language model and the mail server.")
@click.option("--offline-secrets", is_flag=True, help="Do not read the secrets, for a machine that does not have them.")
@click.option("--strict", is_flag=True, help="Exit with code 2 for warnings, too.")
def check(settings_file: str, *, connect: bool, offline_secrets: bool, strict: bool) -> None:
    """Check the settings, and report all problems at once.

    Spiders written in Python and templates of digests are executed in separate processes. Exit code: 0 no problems (there may be
    warnings), 1 a connection failed, 2 the settings have problems.
    """
    from pipeline.cli.settings_check import check_settings
    from pipeline.settings.masking import Mask
    checked = check_settings(settings_file, with_secrets=not offline_secrets)
    mask = Mask.of(checked.settings) if checked.settings is not None else Mask()  # an error in users' code may show a secret that is on this machine
    for line in checked.lines():
        click.echo(mask(line), err=True)
    if checked.settings is not None:
        from pipeline.cli.settings_check.language_model import leaving
        from pipeline.cli.settings_check.only_if import costs
        for line in [*leaving(checked.settings), *costs(checked.settings)]:
            click.echo(escape_line(mask(line)))
        click.echo(f"{settings_file}: {_summary(checked)}")
    failures = 0
    if connect and checked.settings is not None and not checked.problems:
        from pipeline.cli.connections import try_connections
        for what, error in try_connections(checked.settings):
            click.echo(f"{what}: {error or 'ok'}")
            failures += error is not None
    if checked.errors or (strict and checked.warnings):
        raise SystemExit(UsageError.exit_code)
    raise SystemExit(1 if failures else 0)


def _summary(checked: CheckedSettings) -> str:
    """Return the last line of `check`, such as "2 spiders, 1 digest: no problems, 1 warning"."""
    assert checked.settings is not None
    parts = [counted(checked.errors, "problem") if checked.errors else "no problems"]
    if checked.warnings:
        parts.append(counted(checked.warnings, "warning"))
    if checked.secrets_left_out:
        parts.append(f"{counted(checked.secrets_left_out, 'secret')} not checked")
    return (f"{counted(len(checked.settings.spiders), 'spider')}, {counted(len(checked.settings.digests), 'digest')}: {', '.join(parts)}")


@click.command()
@click.argument("folder", default=".", metavar="[FOLDER]")
@click.option("--demo", is_flag=True, help="Write the settings of the bundled demo, which crawls a demo site.")
def init(folder: str, *, demo: bool) -> None:
    """Write a commented settings.toml and a folder for your spiders."""
    import shlex
    target = Path(folder, "settings.toml")
    if target.exists():
        raise UsageError("the file already exists and was not changed", where=str(target))
    text = _demo_settings() if demo else _starter()
    Path(folder, "spiders").mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")
    option = "" if target == Path("settings.toml") else f" --settings {shlex.quote(str(target))}"
    click.echo(f"created {target}; start the service with `pipeline serve{option}`" if demo else
               f"created {target}, and the folder spiders beside it for your own Python spiders\n"
               f"next: `pipeline new spider NAME --from URL{option}` writes a spider for a page with a list of products, articles or files")
    from pipeline.cli.yagmail_accounts import offers
    for path, toml in offers(Path.home()):
        click.echo(f"\n{path} contains a mail account of yagmail. To send mail through this account, replace [mail] in {target} by:\n\n{toml}", nl=False)


def _demo_settings() -> str:
    from importlib import resources
    packaged = resources.files("pipeline") / "settings.toml"
    source = packaged if packaged.is_file() else Path(__file__).parents[3] / "settings.toml"
    return source.read_text("utf-8")


def _starter() -> str:
    """Return the text of a small settings file, with the time zone of this machine."""
    from importlib import resources
    text = (resources.files("pipeline.cli") / "starter.toml").read_text("utf-8")
    return text.replace('timezone = "UTC"'.ljust(_COMMENT_COLUMN), f'timezone = "{_local_zone()}"'.ljust(_COMMENT_COLUMN - 1) + " ", 1)


def _local_zone() -> str:
    """Return the name of this machine's time zone, or "UTC" if it is unknown."""
    from zoneinfo import available_timezones
    name = str(Path("/etc/localtime").resolve()).rpartition("/zoneinfo/")[2]
    return name if name in available_timezones() and not name.startswith("Etc/") else "UTC"


@click.command()
def schema() -> None:
    """Print the JSON Schema of settings.toml."""
    import json

    from pipeline.settings import schema as settings_schema
    click.echo(json.dumps(settings_schema(), indent=2))
