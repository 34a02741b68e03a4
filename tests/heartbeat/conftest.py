"""Fixtures of the tests of the heartbeat: a server, connections, and a snapshot to change."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import uvloop

from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.connections.listeners import ListenOptions
from pipeline.heartbeat.server import HeartbeatServer, ServiceInfo
from pipeline.heartbeat.snapshot.build import unreadable_snapshot
from pipeline.model import Progress
from pipeline.settings import load
from tests.servers.loop import loop_thread

# Where Debian keeps check_tcp and check_http; before any test asks whether it has the programs it needs.
os.environ["PATH"] += os.pathsep + "/usr/lib/nagios/plugins"

STARTED = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 15, 16, 41, tzinfo=UTC)
LISTEN_OPTIONS = {field.name for field in fields(ListenOptions)}
QUICK = ServerLimits(idle_s=600, quiet_s=0.05, drain_s=0.5, watch_every_s=0.02, fresh_s=0)


def empty():
    """A snapshot of a service with nothing to do."""
    return {**unreadable_snapshot("", started_at=STARTED, now=NOW, version="1.2.3"), "health": "ok", "reasons": [],
            "store": {"readable": True, "writable": True, "error": "", "size_bytes": None}}


class Service:
    """Answers with whatever the test put there, an exception included."""

    def __init__(self):
        self.says = empty()
        self.asked = 0
        self.blocked_until = None

    async def status(self):
        self.asked += 1
        if self.blocked_until is not None:
            await self.blocked_until.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    with loop_thread(asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop) as run:
        yield run


@pytest.fixture
def settings(tmp_path):
    """Loads a settings.toml with the given text."""
    def settings(text):
        (tmp_path / "settings.toml").write_text(text)
        return load(tmp_path / "settings.toml")

    return settings


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def start(run, service):
    """Starts a heartbeat with the given options; stops it at the end."""
    started = []

    def start(**options):
        heartbeat = run(_started(service, options))
        started.append(heartbeat)
        return heartbeat

    yield start
    for heartbeat in started:
        run(heartbeat.stop())


async def _started(service, options):
    listen = ListenOptions(**{"port": 0} | {name: options.pop(name) for name in LISTEN_OPTIONS & options.keys()})
    info = ServiceInfo("1.2.3", ZoneInfo("Asia/Shanghai"), lambda: NOW)
    heartbeat = HeartbeatServer(options.pop("source", service), listen, **{"limits": QUICK, "service": info} | options)
    await heartbeat.start()
    return heartbeat


@pytest.fixture
def heartbeat(start):
    return start()


@pytest.fixture
def connect(heartbeat):
    """Opens a connection to the heartbeat: (socket, file of its answers)."""
    opened = []

    def connect(address=None):
        sock = socket.create_connection(address or heartbeat.address, 10)
        answers = sock.makefile("rb")
        opened.extend((answers, sock))
        return sock, answers

    yield connect
    for one in opened:
        one.close()


def run_status(**changed):
    """A run as a snapshot has it."""
    at = (NOW - timedelta(hours=1)).isoformat()
    return {"id": 7, "spider": "books", "reason": "schedule", "due_at": at, "started_at": at, "ended_at": at,
            "duration_s": 12.5, "outcome": "succeeded", "complete": True, "suspect": False, "error": "",
            "progress": progress(pages=5, items=40, downloads=3, download_bytes=4_000_000)} | changed


def progress(**figures):
    return asdict(Progress(**figures))


def past_run(**changed):
    """An ended run in short."""
    return {"id": 7, "ended_at": "2026-11-22T14:16:41+00:00", "outcome": "succeeded", "duration_s": 12.5, "pages": 5,
            "items": 40, "error": ""} | changed


def spider_status(**changed):
    return {"health": "ok", "reasons": [], "problems": [], "schedule": "0 7 * * *", "proxy": None,
            "next_due": "2026-11-23T07:00:00+08:00", "late": False, "paused": False, "paused_until": None, "pause_reason": "", "last_success": "2026-11-22T07:00:12+08:00",
            "failures_in_a_row": 0, "running": [], "last_run": run_status(), "recent": [past_run()],
            "day": {"runs": {"succeeded": 1}, "progress": {"pages": 5, "new": 40, "download_bytes": 4_000_000}},
            "login_ends": None,
            "rules": [{"rule": "items.each", "pages": 5, "pages_matched": 4, "matches": 40, "items": 0},
                      {"rule": "download", "pages": 5, "pages_matched": 0, "matches": 0, "items": 0}],
            "fields": [{"field": "price", "items": 40, "filled": 38}],
            } | changed
