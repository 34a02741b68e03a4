"""Tests of the command registry: one entry is enough for lines, datagrams, `help` and the token."""

from __future__ import annotations

import pytest

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.client import HeartbeatClient
from pipeline.heartbeat.protocols.commands import COMMANDS, ImmediateCommand, SnapshotCommand, parse
from pipeline.heartbeat.token import Token
from pipeline.registry import HEARTBEAT_COMMANDS

TOKEN = Token("t0ken-" * 8)


class RemoteOnly(AccessPolicy):
    """Takes every client for one on another machine."""

    def is_local(self, peer):
        return False


@pytest.mark.parametrize(("text", "name", "argument"), [
    ("ping", "ping", ""), ("  ping \r", "ping", ""), ("ping x", None, ""), ("PING", None, ""), ("", None, ""),
    ("spider", "spider", ""), ("spider  books ", "spider", "books"), ("spider a b", "spider", "a b"), ("spiders x", None, ""),
    ("token", None, ""), ("token  x ", "token", "x"), ("quit now", None, "")])
def test_a_line_is_a_command_with_its_argument_or_an_echo(text, name, argument):
    command, found = parse(text)
    assert (command.name if command is not None else None, found) == (name, argument)


def test_each_command_is_registered_under_its_name():
    assert [command.name for command in COMMANDS.values()] == [*COMMANDS] == [*HEARTBEAT_COMMANDS]


def test_a_registered_command_is_answered_by_line_and_datagram_and_listed_in_help(start, monkeypatch):
    monkeypatch.setitem(COMMANDS, "uptime", SnapshotCommand(
        name="uptime", help="seconds", answer=lambda snapshot, argument: f"{snapshot['uptime_s']:g}"))
    monkeypatch.setitem(COMMANDS, "say", ImmediateCommand(
        name="say", argument="TEXT", help="the text", answer=lambda service, argument: argument))
    heartbeat = start(udp=True)
    client = HeartbeatClient(*heartbeat.address)
    assert list(client.ask_lines(["uptime", "say hello", "uptime x"]))[:2] == ["29801", "hello"]
    assert client.ask_datagram("uptime") == "29801"
    assert "uptime, say TEXT" in client.ask("help")


def test_a_registered_command_needs_the_token_from_another_machine_unless_it_says_otherwise(start, monkeypatch):
    monkeypatch.setitem(COMMANDS, "uptime", SnapshotCommand(name="uptime", help="", answer=lambda *_: "1"))
    monkeypatch.setitem(COMMANDS, "public", SnapshotCommand(name="public", help="", answer=lambda *_: "2", needs_token=False))
    client = HeartbeatClient(*start(access=RemoteOnly(TOKEN)).address)
    assert "needs the token" in client.ask("uptime")
    assert client.ask("public") == "2"
    assert HeartbeatClient(client.host, client.port, token=TOKEN.reveal()).ask("uptime") == "1"
