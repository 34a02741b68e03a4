"""The registry of heartbeat commands: what a client can send, by line or datagram.

To add a command, write a module beside this one that makes a Command, and list it in COMMANDS. `help` and the table of
docs/heartbeat.md follow from the registry.
"""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import Command, ConnectionCommand, ImmediateCommand, SnapshotCommand
from pipeline.heartbeat.protocols.commands.connection import QUIT, TOKEN
from pipeline.heartbeat.protocols.commands.downloads import DOWNLOADS
from pipeline.heartbeat.protocols.commands.immediate import HELP, PING, TIME
from pipeline.heartbeat.protocols.commands.outbox import OUTBOX
from pipeline.heartbeat.protocols.commands.proxies import PROXIES
from pipeline.heartbeat.protocols.commands.runs import RUNS
from pipeline.heartbeat.protocols.commands.spiders import NEXT, SPIDER, SPIDERS
from pipeline.heartbeat.protocols.commands.status import HEALTH, STATUS, VERSION
from pipeline.heartbeat.protocols.commands.watch import WATCH

__all__ = ["COMMANDS", "TOKEN", "Command", "ConnectionCommand", "ImmediateCommand", "SnapshotCommand", "help_line", "parse"]

COMMANDS: dict[str, Command] = {command.name: command for command in (
    PING, TIME, STATUS, HEALTH, SPIDERS, SPIDER, RUNS, NEXT, OUTBOX, DOWNLOADS, PROXIES, VERSION, WATCH, TOKEN, HELP, QUIT)}
"""By name, in the order of `help`."""


def parse(text: str) -> tuple[Command | None, str]:
    """The command that a line asks for and its argument. None for any other text, which is echoed."""
    name, _, argument = text.strip().partition(" ")
    command = COMMANDS.get(name)
    if command is None or (argument and not command.argument) or (command.argument_required and not argument):
        return None, ""
    return command, argument.strip()


def help_line() -> str:
    """All commands on one line."""
    usages = ", ".join(f"{command.name} {command.argument}".rstrip() for command in COMMANDS.values())
    return f"one word a line: {usages}; any other text comes back as [timestamp] text"
