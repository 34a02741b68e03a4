"""The kinds of heartbeat commands: immediate commands, snapshot commands and connection commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.heartbeat.snapshot.schema import Snapshot


class Service(Protocol):
    """The parts of the server that an ImmediateCommand can use."""

    @property
    def help(self) -> str: ...

    def timestamp(self) -> str: ...


class LineConnection(Protocol):
    """The operations that a ConnectionCommand can perform on the client's connection."""

    def reply(self, line: str) -> None: ...

    def close(self, last_line: str) -> None: ...

    def authenticate(self, token: str) -> bool: ...

    def start_watch(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Command:
    """A heartbeat command.

    name: the word that the client sends. help: a phrase for the manual that describes the answer. argument: the name of
    the argument, as the answer to `help` shows the name; "" means that the command takes no argument. needs_token: whether
    a client on another machine must authenticate with the command `token` first.
    """

    name: str
    help: str
    argument: str = ""
    argument_required: bool = False
    needs_token: bool = False


@dataclass(frozen=True, kw_only=True)
class ImmediateCommand(Command):
    """A command that is answered without reading the store.

    answer: computes the answer line from the server and the argument.
    """

    answer: Callable[[Service, str], str]


@dataclass(frozen=True, kw_only=True)
class SnapshotCommand(Command):
    """A command that is answered from the snapshot, as the command `status` is, so that both always agree.

    answer: computes the answer line from the snapshot and the argument. The line may contain unescaped scraped text,
    because the server escapes control characters. large: whether the line can be so long that a thread computes it.
    """

    answer: Callable[[Snapshot, str], str]
    large: bool = False
    needs_token: bool = True


@dataclass(frozen=True, kw_only=True)
class ConnectionCommand(Command):
    """A command that acts on the client's connection, and therefore has no effect in a datagram."""

    run: Callable[[LineConnection, str], None]
