"""`pipeline backup`, `restore`, `migrate`, `migrate-store` and `prune`.

Back up, restore, migrate and move the stored data, and delete old data.
"""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import load_settings, settings_option


@click.command()
@settings_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--without-files", is_flag=True, help="Write only a list of the files in the object store, with their checksums.")
def backup(settings_file: str, file: Path, *, without_files: bool) -> None:
    """Write the database and the files to one archive, even while the service runs."""
    from pipeline.cli.data_files import back_up
    click.echo(back_up(load_settings(settings_file), file, without_files=without_files))


@click.command()
@settings_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace existing data, which is first moved to a folder in data_dir.")
@click.option("--resend", is_flag=True, help="Send the messages that were waiting when the backup was made, even if they were sent since.")
def restore(settings_file: str, file: Path, *, replace: bool, resend: bool) -> None:
    """Restore the database and the files from a backup."""
    from pipeline.cli.data_files import restore as restore_backup
    for line in restore_backup(load_settings(settings_file), file, replace=replace, resend=resend):
        click.echo(line)


@click.command()
@settings_option
def prune(settings_file: str) -> None:
    """Delete the data that [retention] does not keep. The service does this once an hour."""
    from pipeline.cli.data_files import prune as prune_store
    click.echo(prune_store(load_settings(settings_file)))


@click.command()
@settings_option
@click.option("--without-copy", is_flag=True, help="Do not copy the database first, because you have made a backup.")
def migrate(settings_file: str, *, without_copy: bool) -> None:
    """Migrate the database to the schema of this version. The first start of a new version does this, too."""
    from pipeline.cli.data_files import migrate as migrate_store
    click.echo(migrate_store(load_settings(settings_file), copy=not without_copy))


@click.command("migrate-store")
@settings_option
@click.option("--to", "target", metavar="URL", envvar="MIGRATE_STORE_TO", help="URL of an empty PostgreSQL database. The default is the database of the settings, if it is one.")
@click.option("--from", "source", metavar="URL", help="URL of the SQLite database. The default is the database of the settings, or pipeline.sqlite3 in data_dir.")
@click.option("--storage", metavar="URL", help="Copy the files to an object store as well, such as s3://bucket/prefix.")
def migrate_store(settings_file: str, target: str | None, source: str | None, storage: str | None) -> None:
    """Move everything from SQLite to PostgreSQL, while no service runs."""
    from pipeline.cli.move_store import move_store
    for line in move_store(load_settings(settings_file), to=target, from_=source, storage=storage):
        click.echo(line)
