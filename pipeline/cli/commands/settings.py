"""`pipeline check`, `init` and `schema`: check settings.toml, create it, and print its JSON Schema."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import load_settings, settings_option
from pipeline.errors import UsageError
from pipeline.text import counted


@click.command()
@settings_option
@click.option("--connect", is_flag=True, help="Also try the logins, the proxies, the mail server and the database.")
def check(settings_file: str, *, connect: bool) -> None:
    """Check the settings, and report all problems at once."""
    settings = load_settings(settings_file)
    click.echo(f"{settings.file}: {counted(len(settings.spiders), 'spider')}, {counted(len(settings.digests), 'digest')}: no problems")
    if connect:
        from pipeline.cli.connections import try_connections
        failures = 0
        for what, error in try_connections(settings):
            click.echo(f"{what}: {error or 'ok'}")
            failures += error is not None
        raise SystemExit(1 if failures else 0)


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
