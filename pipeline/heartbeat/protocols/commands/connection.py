"""The heartbeat commands `token` and `quit`, which act on the client's connection."""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import ConnectionCommand, LineConnection


def _token(connection: LineConnection, argument: str) -> None:
    connection.reply("ok" if connection.authenticate(argument) else
                     "error: wrong token; `pipeline url` prints the correct token")


def _quit(connection: LineConnection, argument: str) -> None:
    connection.close("bye")


TOKEN = ConnectionCommand(name="token", argument="TOKEN", argument_required=True, run=_token,
                          help="`ok`, or an error if the token is wrong; allows a client on another machine to use the commands that need the token")
QUIT = ConnectionCommand(name="quit", run=_quit, help="`bye`, and the connection is closed")
