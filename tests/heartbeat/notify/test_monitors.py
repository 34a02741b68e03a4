"""Tests of beats to a dead-man's switch and of notifications to systemd."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from pipeline.errors import PipelineError, SettingsError, StoreError, UsageError
from pipeline.heartbeat.notify.dead_man_switch import BeatSender, send_beat
from pipeline.heartbeat.notify.monitors import MonitorNotifier
from pipeline.heartbeat.notify.systemd import SystemdNotifier
from pipeline.heartbeat.snapshot.loop_health import with_service_health
from pipeline.model import Outcome, Run
from pipeline.settings import Secret, load
from pipeline.settings.masking import Mask
from tests.heartbeat.conftest import NOW, empty

RUN = Run(id=7, pass_id=1, spider="books", attempt=1, reason="schedule", due_at=NOW, created_at=NOW)


class FakeSwitch:
    """A dead-man's switch: what it was told, and what it answers."""

    def __init__(self):
        self.told = []
        self.answers = []
        self.changed = asyncio.Event()
        self.url = ""

    async def handle(self, request):
        self.told.append((request.path, await request.text()))
        self.changed.set()
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else None)

    async def until(self, number):
        async with asyncio.timeout(10):
            while len(self.told) < number:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def fake_switch():
    switch = FakeSwitch()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", switch.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    switch.url = f"http://127.0.0.1:{runner.addresses[0][1]}/uuid"
    try:
        yield switch
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    def settings(heartbeat="", spider=""):
        (tmp_path / "settings.toml").write_text(
            f'[heartbeat]\n{heartbeat}\n[spiders.books]\nstart = ["https://b.example/"]\nitems.fields.t = "h1"\n{spider}\n')
        return load(tmp_path / "settings.toml")

    return settings


def notifier(settings, status=None, **options):
    async def ok():
        return empty()

    return MonitorNotifier(lambda: settings, lambda: Mask(("hunter2",)), status or ok, sender=BeatSender(retry_s=0.01), **options)


def test_a_run_sends_beats_for_start_success_and_failure(settings, monkeypatch):
    async def story():
        async with fake_switch() as switch:
            monkeypatch.setenv("BEAT", switch.url)
            beats = notifier(settings(spider='beat = { env = "BEAT" }'))
            for number, tell in enumerate((
                    lambda: beats.run_started(RUN), lambda: beats.run_ended(replace(RUN, outcome=Outcome.SUCCEEDED)),
                    lambda: beats.run_ended(replace(RUN, outcome=Outcome.FAILED, error="login\nwith hunter2")),
                    lambda: beats.run_ended(replace(RUN, outcome=Outcome.SUCCEEDED, suspect=True, error="it found none of the 3 items")))):
                tell()
                await switch.until(number + 1)
            beats.run_ended(replace(RUN, outcome=Outcome.STOPPED))
            beats.run_started(replace(RUN, spider="other"))
            await beats.drain(5)
            assert switch.told == [("/uuid/start", "books run 7"), ("/uuid", "books run 7"),
                                  ("/uuid/fail", "books run 7 failed: login with ****"),
                                  ("/uuid/fail", "books run 7 suspect: it found none of the 3 items")]

    asyncio.run(story())


def test_a_beat_is_tried_three_times_and_its_url_is_never_logged(settings, caplog):
    async def story():
        async with fake_switch() as switch:
            beats = notifier(settings(spider=f'beat = "{switch.url}"'))
            switch.answers = [500, 503, 200]
            beats.run_started(RUN)
            await beats.drain(5)
            assert len(switch.told) == 3
            assert not [record for record in caplog.records if record.name.startswith("pipeline")]
            for status, number in ((500, 3), (404, 1), (302, 1)):
                switch.told.clear()
                switch.answers = [status] * 3
                beats.run_started(RUN)
                await beats.drain(5)
                assert len(switch.told) == number
                assert f"responded with HTTP status {status}" in caplog.text
            return switch.url

    url = asyncio.run(story())
    assert "spiders.books.beat" in caplog.text
    assert url not in caplog.text


def test_an_unreachable_switch_raises_an_error_without_its_url(free_port, monkeypatch):
    monkeypatch.setenv("BEAT", f"http://127.0.0.1:{free_port}/x")
    with pytest.raises(PipelineError, match="could not be reached") as caught:
        send_beat(Secret("env", "BEAT"), "success", "")
    assert caught.value.retry
    assert str(free_port) not in str(caught.value)


def test_a_beat_url_without_https_is_refused(settings, monkeypatch):
    with pytest.raises(SettingsError, match="https"):
        settings(heartbeat='beat = "http://hc.example/x"')
    monkeypatch.setenv("BEAT", "http://hc.example/x")
    with pytest.raises(UsageError, match="https"):
        send_beat(Secret("env", "BEAT"), "success", "")


def test_too_many_beats_are_dropped(settings, caplog):
    async def story():
        async with fake_switch() as switch:
            beats = notifier(settings(spider=f'beat = "{switch.url}"'))
            for _ in range(100):
                beats.run_started(RUN)
            await beats.drain(20)
            assert len(switch.told) == 64

    asyncio.run(story())
    assert "too many reports to the monitor are pending" in caplog.text


def test_the_service_sends_beats_and_reports_failing_as_a_failure(settings):
    async def story():
        async with fake_switch() as switch:
            says = [empty(), empty() | {"health": "degraded", "reasons": ["late"]},
                    empty() | {"health": "failing", "reasons": ["store: gone"]}, StoreError("damaged")]

            async def status():
                found = says.pop(0) if says else empty()
                if isinstance(found, Exception):
                    raise found
                return found

            beats = notifier(settings(heartbeat=f'beat = "{switch.url}"\nbeat_every = "50ms"'), status)
            task = asyncio.create_task(beats.run())
            await switch.until(5)
            task.cancel()
            await asyncio.wait({task})
            await beats.drain(5)
            assert sorted(switch.told[:4]) == sorted([
                ("/uuid", "ok"), ("/uuid", "degraded: late"), ("/uuid/fail", "failing: store: gone"),
                ("/uuid/fail", "damaged")])

    asyncio.run(story())


# systemd


@pytest.fixture
def supervisor(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def test_systemd_is_notified_of_ready_stopping_and_the_watchdog(settings, supervisor):
    systemd = SystemdNotifier({"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "100000"})
    assert systemd.watchdog_s == 0.05

    async def story():
        beats = notifier(settings(), systemd=systemd)
        beats.service_ready()
        task = asyncio.create_task(beats.run())
        heard = [await asyncio.to_thread(supervisor.recv, 100) for _ in range(3)]
        task.cancel()
        await asyncio.wait({task})
        beats.service_stopping()
        return heard

    assert asyncio.run(story()) == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    heard = supervisor.recv(100)
    while heard == b"WATCHDOG=1":
        heard = supervisor.recv(100)
    assert heard == b"STOPPING=1"


def test_the_systemd_socket_may_be_abstract_gone_or_missing():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0pipeline-test-notify")
        SystemdNotifier({"NOTIFY_SOCKET": "@pipeline-test-notify"}).notify(STATUS="two\nlines")
        assert sock.recv(100) == b"STATUS=two"
    SystemdNotifier({"NOTIFY_SOCKET": "@pipeline-test-notify"}).notify(READY=1)
    SystemdNotifier({}).notify(READY=1)
    assert SystemdNotifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_thresholds_are_settings(settings):
    table = settings('lag_after = "1s"\njump_after = "2s"\nwrite_after = "3s"\ndisk_below = "4GB"').heartbeat
    assert (table.lag_after, table.jump_after, table.write_after, table.disk_below) == (1, 2, 3, 4 * 10**9)
    assert with_service_health(empty(), {"lag_s": 2.0, "clock_jump_s": 0.0}, lag_after_s=1)["health"] == "degraded"
