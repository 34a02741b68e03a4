"""`pipeline status`, `ping` and `url`: query the heartbeat of a running service, or print its address."""

from __future__ import annotations

import sys

import click

from pipeline.cli.options import json_option, load_for_heartbeat, settings_option, to_json
from pipeline.errors import PipelineError, UsageError


@click.command()
@settings_option
@json_option
def status(settings_file: str, *, as_json: bool) -> None:
    """Print the status of the running service.

    Exit code: 0 ok, 1 degraded, 2 failing or unreachable, 3 unknown.
    """
    from pipeline.cli.service_status import ask_status, status_table
    try:
        settings = load_for_heartbeat(settings_file)
        found = ask_status(settings)
    except PipelineError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2 if not isinstance(error, UsageError) else 3) from error
    click.echo(to_json(found)) if as_json else status_table(found)
    raise SystemExit({"ok": 0, "degraded": 1, "failing": 2}.get(str(found.get("health")), 3))


@click.command()
@settings_option
@click.argument("text", nargs=-1)
@click.option("--udp", is_flag=True, help="Send a UDP datagram instead of using TCP.")
def ping(settings_file: str, text: tuple[str, ...], *, udp: bool) -> None:
    """Send TEXT to the heartbeat, which echoes it. Without TEXT, send each line of stdin."""
    from pipeline.heartbeat.client import client_for
    client = client_for(load_for_heartbeat(settings_file))
    if text and not udp:
        click.echo(client.ask(" ".join(text)))
        return
    lines = [" ".join(text)] if text else (line.rstrip("\r\n") for line in sys.stdin)
    answers = (client.ask_datagram(line) for line in lines) if udp else client.ask_lines(lines)
    for answer in answers:
        click.echo(answer)


@click.command()
@settings_option
def url(settings_file: str) -> None:
    """Print the link to the heartbeat's pages. The link contains the token: keep the link secret."""
    from pipeline.heartbeat.addresses import pages_url
    from pipeline.heartbeat.token import load_or_create_token
    settings = load_for_heartbeat(settings_file)
    if not settings.heartbeat.on_port:
        raise UsageError("the web pages need a TCP port, but the heartbeat listens only on a Unix socket", where="heartbeat.socket",
                         fix="set [heartbeat] host, too")
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    click.echo(pages_url(settings, load_or_create_token(settings.data_dir)))
