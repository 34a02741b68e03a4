"""The heartbeat commands, which clients send as text lines or as datagrams.

To add a command, define the command in a module of this package and add a line to `pipeline.registry.HEARTBEAT_COMMANDS`.
The answer to `help` and the table in docs/heartbeat.md are generated from the commands.
"""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import Command, ConnectionCommand, ImmediateCommand, SnapshotCommand
from pipeline.heartbeat.protocols.commands.connection import TOKEN
from pipeline.registry import HEARTBEAT_COMMANDS, load

__all__ = ["COMMANDS", "TOKEN", "Command", "ConnectionCommand", "ImmediateCommand", "SnapshotCommand", "help_line", "parse"]

COMMANDS: dict[str, Command] = {name: load(command) for name, command in HEARTBEAT_COMMANDS.items()}
"""All commands by name, in the order in which `help` lists the commands."""


def parse(text: str) -> tuple[Command | None, str]:
    """Return the command that a line names, and its argument; (None, "") for text that is not a command."""
    name, _, argument = text.strip().partition(" ")
    command = COMMANDS.get(name)
    if command is None or (argument and not command.argument) or (command.argument_required and not argument):
        return None, ""
    return command, argument.strip()


def help_line() -> str:
    """Return the answer to `help`: all commands on one line."""
    usages = ", ".join(f"{command.name} {command.argument}".rstrip() for command in COMMANDS.values())
    return f"commands, one per line: {usages}; any other text is echoed as [timestamp] text"
