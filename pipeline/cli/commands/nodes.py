"""`pipeline worker` and `pipeline nodes`.

Perform runs for services on other machines, and list the nodes that share a database.
"""

from __future__ import annotations

import sys

import click

from pipeline.cli.options import json_option, load_settings, masked, open_stored, settings_option, to_json


@click.command()
@click.option("--settings", "settings_file", default="settings.toml", show_default=True, metavar="FILE",
              help="Path of the settings file, or its URL: https://… or s3://bucket/key.")
@click.option("--queues", metavar="A,B", help="Perform only runs of these queues. The default is [cluster] queues, else all queues.")
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Number of runs at the same time. The default is [pipeline] max_runs.")
@click.option("--node", metavar="NAME", help="Name of this node in the status. The default is [cluster] node, else the host name.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the heartbeat of this worker; 0 chooses a free port. The default is [heartbeat] port.")
def worker(settings_file: str, queues: str | None, concurrency: int | None, node: str | None, port: int | None) -> None:
    """Perform runs that wait in a PostgreSQL database, until SIGTERM or Ctrl-C.

    SIGHUP reloads the settings. Schedules and mails need `pipeline serve` on some node.
    """
    from pipeline.cli.commands.serve import run_service, without_collection
    with without_collection():
        from pipeline.service import ServiceOptions
        from pipeline.service.roles import WORKER
        from pipeline.service.settings_source import SettingsSource
        source = SettingsSource(settings_file, port=port)
        names = tuple(filter(None, (name.strip() for name in (queues or "").split(","))))
        options = ServiceOptions(roles=(WORKER,), concurrency=concurrency, queues=names or None, node=node or "", source=source)
    run_service(masked(source.load()), options)


@click.command()
@settings_option
@json_option
@click.option("--forget", metavar="NAME", help="Forget the processes of a node that are gone and will not return.")
def nodes(settings_file: str, *, as_json: bool, forget: str | None) -> None:
    """List the processes of all nodes that share a PostgreSQL database.

    Exit code 1 if one of them is gone.
    """
    from pipeline.errors import UsageError
    from pipeline.store.health import nodes as stored
    settings = load_settings(settings_file)
    store = open_stored(settings)
    if not store.shared:
        click.echo("[]" if as_json else "the database is SQLite, so this machine is the only node")
        return
    if forget is not None:
        if not (gone := stored.forget(store, forget)):
            known = ", ".join(sorted({node.name for node in stored.nodes(store) if node.state is stored.NodeState.GONE})) or "none"
            raise UsageError(f"no process of a node named {forget!r} is gone", where="--forget", fix=f"gone nodes: {known}")
        click.echo(f"{len(gone)} forgotten: {', '.join(sorted({node.name for node in gone}))}", err=as_json)
    found = [{**vars(node), "state": node.state.value} for node in stored.nodes(store)]
    if as_json:
        click.echo(to_json(found))
    else:
        from rich.console import Console

        from pipeline.cli.service_status import node_table
        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(node_table(found) if found else "no process is running", highlight=False)
    raise SystemExit(1 if any(node["state"] == stored.NodeState.GONE for node in found) else 0)
