"""The heartbeat commands `ping`, `time` and `help`, which need no snapshot."""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import ImmediateCommand, Service


def _ping(service: Service, argument: str) -> str:
    return "pong"


def _time(service: Service, argument: str) -> str:
    return service.timestamp()


def _help(service: Service, argument: str) -> str:
    return service.help


PING = ImmediateCommand(name="ping", help="`pong`", answer=_ping)
TIME = ImmediateCommand(name="time", help="the date and time in the settings' zone", answer=_time)
HELP = ImmediateCommand(name="help", help="all commands on one line", answer=_help)
