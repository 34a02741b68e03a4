"""The heartbeat commands: what a client can send, by line or datagram.

A new command is one file here and one line in `pipeline.registry.HEARTBEAT_COMMANDS`. `help` and the table of docs/heartbeat.md
follow from it.
"""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import Command, ConnectionCommand, ImmediateCommand, SnapshotCommand
from pipeline.heartbeat.protocols.commands.connection import TOKEN
from pipeline.registry import HEARTBEAT_COMMANDS, load

__all__ = ["COMMANDS", "TOKEN", "Command", "ConnectionCommand", "ImmediateCommand", "SnapshotCommand", "help_line", "parse"]

COMMANDS: dict[str, Command] = {name: load(command) for name, command in HEARTBEAT_COMMANDS.items()}
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
    return f"commands, one per line: {usages}; any other text is echoed as [timestamp] text"
