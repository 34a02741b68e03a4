"""The kinds of heartbeat commands: answered at once, from the snapshot, or by the connection itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.heartbeat.snapshot.schema import Snapshot


class Service(Protocol):
    """What an immediate command can ask of the server."""

    @property
    def help(self) -> str: ...

    def timestamp(self) -> str: ...


class LineConnection(Protocol):
    """What a connection command can do with the connection it came over."""

    def reply(self, line: str) -> None: ...

    def close(self, last_line: str) -> None: ...

    def authenticate(self, token: str) -> bool: ...

    def start_watch(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Command:
    """A heartbeat command.

    name: what the client sends. help: the answer in one phrase, as the manual shows it. argument: its name in `help`, ""
    for a command without one. needs_token: a client on another machine must authenticate first."""

    name: str
    help: str
    argument: str = ""
    argument_required: bool = False
    needs_token: bool = False


@dataclass(frozen=True, kw_only=True)
class ImmediateCommand(Command):
    """Answered without reading the store. answer: computes the answer line from the server and the argument."""

    answer: Callable[[Service, str], str]


@dataclass(frozen=True, kw_only=True)
class SnapshotCommand(Command):
    """Answered from the snapshot, so that it cannot contradict `status`.

    answer: computes the answer line from the snapshot and the argument.

    The answer may quote scraped text; the server escapes control characters.
    """

    answer: Callable[[Snapshot, str], str]
    needs_token: bool = True


@dataclass(frozen=True, kw_only=True)
class ConnectionCommand(Command):
    """Acts on the connection that it came over, so a datagram with its name is an echo."""

    run: Callable[[LineConnection, str], None]
