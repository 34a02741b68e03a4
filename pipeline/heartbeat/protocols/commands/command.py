"""The kinds of heartbeat commands: answered immediately, from the snapshot, or by the connection."""

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

    name: what the client sends. help: a phrase that describes the answer in the manual. argument: the name of the
    argument in the answer to `help`; "" means that the command has no argument. needs_token: whether a client on
    another machine must authenticate first.
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
    """A command that is answered from the snapshot, so that the answer never contradicts `status`.

    answer: computes the answer line from the snapshot and the argument. The line may contain scraped text, because the
    server escapes control characters.
    """

    answer: Callable[[Snapshot, str], str]
    needs_token: bool = True


@dataclass(frozen=True, kw_only=True)
class ConnectionCommand(Command):
    """A command that acts on the client's connection, and so has no effect when sent as a datagram."""

    run: Callable[[LineConnection, str], None]
