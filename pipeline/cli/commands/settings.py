"""`pipeline check`, `init` and `schema`: check settings.toml, create it, and print its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import settings_option
from pipeline.errors import UsageError
from pipeline.text import counted

if TYPE_CHECKING:
    from pipeline.cli.settings_check import CheckedSettings


@click.command()
@settings_option
@click.option("--connect", is_flag=True, help="Also try the logins, the proxies, the mail server and the database.")
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
    mask = Mask.of(checked.settings) if checked.settings is not None and not offline_secrets else Mask()  # an error in users' code may show one
    for line in checked.lines():
        click.echo(mask(line), err=True)
    if checked.settings is not None:
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
def init(folder: str) -> None:
    """Write a commented settings.toml and a folder for your spiders."""
    from importlib import resources
    target = Path(folder, "settings.toml")
    if target.exists():
        raise UsageError("the file already exists and was not changed", where=str(target))
    packaged = resources.files("pipeline") / "settings.toml"
    source = packaged if packaged.is_file() else Path(__file__).parents[3] / "settings.toml"
    Path(folder, "spiders").mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text("utf-8"), "utf-8")
    click.echo(f"created {target}; start the service with `pipeline serve --settings {target}`")
    from pipeline.cli.yagmail_accounts import offers
    for path, toml in offers(Path.home()):
        click.echo(f"\n{path} contains a mail account of yagmail. To send mail through this account, replace [mail] in {target} by:\n\n{toml}", nl=False)


@click.command()
def schema() -> None:
    """Print the JSON Schema of settings.toml."""
    import json

    from pipeline.settings import schema as settings_schema
    click.echo(json.dumps(settings_schema(), indent=2))
