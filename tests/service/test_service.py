"""Tests of `pipeline serve` with real processes, signals and kills."""

from __future__ import annotations

import json
import mailbox
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from pipeline.model import Outcome
from pipeline.store.runs import runs
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.ports import free_port
from tests.servers.program import Program, alive, eventually

ITEMS = """
    [spiders.s.items]
    key = ["x"]
    [spiders.s.items.fields]
    x = "p"
"""


def chain(site: PageSite, length: int, release: threading.Event | None = None, held_page: int = 5) -> None:
    """Pages that each link to the next; the page `held_page` is not answered before `release` is set."""
    def page(asked: Asked) -> Answer:
        number = int(asked.path[1:])
        if release is not None and number == held_page:
            release.wait(30)
        link = f"<a href=/{number + 1}>next</a>" if number + 1 < length else ""
        return Answer(f"<p>{number}</p>{link}")

    site.pages = {f"/{number}": page for number in range(length)}


@pytest.mark.sqlite
def test_a_service_without_what_only_its_children_need_delivers_the_demo_digest(program: Program) -> None:
    shipped = (Path(__file__).parents[2] / "settings.toml").read_text("utf-8")
    text = shipped.replace("8081", str(free_port())).replace("port = 8000", f"port = {program.port}")
    (program.folder / "settings.toml").write_text(text, "utf-8")
    script = ("import asyncio, sys\nfrom pipeline.service import ServiceOptions, serve\nfrom pipeline.settings import load\n"
              "code = asyncio.run(serve(load('settings.toml'), ServiceOptions(once=True)))\n"
              "spared = 'scrapy twisted alembic requests selectolax lxml cryptography css_inline nh3 obstore psycopg procrastinate openai httpx2'.split()\n"
              "loaded = [name for name in spared if name in sys.modules]\n"
              "print('LOADED', loaded)\nsys.exit(code)\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=program.folder, capture_output=True, text=True,
                          timeout=60, check=False, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
    (message,) = mailbox.Maildir(program.data / "mail")
    names = {part.get_filename() for part in message.walk() if part.get_filename()}
    assert "report.pdf" in names
    assert any(name and name.endswith(".xlsx") for name in names)
    assert "42 new" in str(make_header(decode_header(message["Subject"])))


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder whose name is short: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.dispatchers
def test_a_killed_service_leaves_no_child_and_the_next_one_resumes_the_pass(
        program: Program, site: PageSite, temporary: Path) -> None:
    program.environment["TMPDIR"] = str(temporary)
    release = threading.Event()
    chain(site, 12, release)
    program.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nschedule = "every 1h"\nrobots = false\n{ITEMS}')
    program.serve()
    eventually(lambda: "/5" in site.paths())
    started = program.descendants()
    assert started
    program.kill()
    eventually(lambda: not alive(started))
    left = set(temporary.iterdir())

    release.set()
    program.serve()
    eventually(lambda: any(run["outcome"] == "succeeded" for run in program.history()), within_s=40, every_s=0.5)
    runs = program.history()
    assert [run["outcome"] for run in runs] == ["succeeded", "abandoned"]
    assert runs[0]["pass"] == runs[1]["pass"]
    assert runs[0]["complete"]
    assert len(program.run("items", "s").stdout.splitlines()) == 12
    assert sorted(site.paths().count(f"/{n}") for n in range(12)) == [1] * 11 + [2]
    assert left
    assert not left & set(temporary.iterdir())  # what the killed one could not tidy
    assert program.stop() == 0
    assert list(temporary.iterdir()) == []


def test_sigterm_checkpoints_a_run_and_the_next_start_resumes_it_at_once(program: Program, site: PageSite) -> None:
    release = threading.Event()
    chain(site, 8, release)
    program.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nschedule = "every 1h"\nrobots = false\n{ITEMS}')
    program.serve()
    eventually(lambda: "/5" in site.paths())
    threading.Timer(0.5, release.set).start()
    assert program.stop() == 0
    assert {run["outcome"] for run in program.history()} <= {"stopped", None}  # on PostgreSQL, the pass has a run for other nodes already
    program.serve()
    eventually(lambda: program.history()[0]["outcome"] == "succeeded")
    assert program.history()[0]["pass"] == program.history()[1]["pass"]
    assert len(program.run("items", "s").stdout.splitlines()) == 8


def test_a_run_past_its_time_limit_is_killed_and_says_so(program: Program, site: PageSite) -> None:
    release = threading.Event()
    chain(site, 8, release, held_page=0)
    program.write(f'[spiders.s]\nstart = "{site.url}/0"\ntime_limit = "1s"\nrobots = false\n{ITEMS}')
    done = program.run("run", "s")
    release.set()
    assert "timed out" in done.stdout
    assert "time_limit = 1 s" in done.stdout
    assert done.returncode == 10


def test_a_run_past_its_memory_limit_is_killed_and_says_so(program: Program, site: PageSite) -> None:
    (program.folder / "spiders").mkdir()
    (program.folder / "spiders" / "greedy.py").write_text(
        "import scrapy, time\nclass Greedy(scrapy.Spider):\n    async def start(self):\n"
        "        self.hoard = [bytearray(1_000_000) for _ in range(600)]\n        time.sleep(20)\n        yield {}\n")
    program.write('[spiders.s]\nspider = "spiders.greedy:Greedy"\nmemory_limit = "300MB"\n')
    done = program.run("run", "s")
    assert "killed" in done.stdout
    assert "memory_limit is 300 MB" in done.stdout


def test_a_spider_that_ends_its_process_does_not_affect_others(program: Program, site: PageSite) -> None:
    (program.folder / "spiders").mkdir()
    (program.folder / "spiders" / "rude.py").write_text(
        "import os, scrapy\nclass Rude(scrapy.Spider):\n    async def start(self):\n        os._exit(3)\n        yield {}\n")
    site.pages = {"/": "<p>fine</p>"}
    program.write(f'[spiders.rude]\nspider = "spiders.rude:Rude"\n[spiders.s]\nstart = "{site.url}/"\n{ITEMS}')
    done = program.run("run", "rude", "s")
    assert "rude run 1: killed" in done.stdout
    assert "exit code 3" in done.stdout
    assert "s run 2: succeeded" in done.stdout


def test_a_port_in_use_is_reported_with_the_setting_to_change(program: Program) -> None:
    program.write("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", program.port))
        taken.listen()
        done = program.run("serve")
    assert done.returncode == 9
    assert f"port {program.port}" in done.stderr
    assert "[heartbeat] port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.sqlite
def test_a_second_service_on_the_same_data_says_who_holds_it(program: Program) -> None:
    program.write("")
    program.serve()
    text = (program.folder / "settings.toml").read_text().replace(f"port = {program.port}", "port = 0")
    (program.folder / "settings.toml").write_text(text)
    done = program.run("serve")
    assert done.returncode == 8
    assert f"pid {program.pid}" in done.stderr


def test_sighup_reloads_no_settings_with_an_error_and_reports_the_error(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    program.write("")
    program.serve()
    good = (program.folder / "settings.toml").read_text()
    (program.folder / "settings.toml").write_text(good + "[spiders.s]\nstart = 3\n")
    os.kill(program.pid, signal.SIGHUP)
    eventually(lambda: "the settings were not reloaded" in program.log())
    status = program.status()
    assert (status["spiders"], status["health"]) == ({}, "degraded")
    assert status["reasons"] == [f"settings.toml: {status['settings']['error']}"]
    assert "spiders.s.start" in status["settings"]["error"]
    program.write(f'[spiders.s]\nstart = "{site.url}/"\nschedule = "every 1h"\n{ITEMS}')
    os.kill(program.pid, signal.SIGHUP)
    eventually(lambda: program.status()["spiders"].get("s", {}).get("last_success"))
    assert program.status()["settings"] == {"error": "", "waiting_for_restart": []}


def test_sighup_applies_what_needs_no_restart_and_names_the_rest(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    program.write("")
    program.serve()
    program.write(f'[spiders.s]\nstart = "{site.url}/"\nschedule = "every 1h"\n{ITEMS}\n'
                  '[mail]\nhost = "mail.example.com"\nfrom = "me@example.com"\n')
    os.kill(program.pid, signal.SIGHUP)
    eventually(lambda: program.status()["spiders"].get("s", {}).get("last_success"))
    status = program.status()
    assert status["settings"] == {"error": "", "waiting_for_restart": ["mail.from", "mail.host"]}
    assert status["health"] == "ok"
    assert "restart of the service is needed to apply the changes of mail.from, mail.host" in program.log()
    assert "restart the service to apply the changes of mail.from, mail.host" in program.run("status").stdout


def test_two_runs_of_one_spider_do_not_overlap(program: Program, site: PageSite) -> None:
    release = threading.Event()
    chain(site, 3, release, held_page=0)
    program.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nrobots = false\n{ITEMS}')
    first = threading.Thread(target=program.run, args=("run", "s"))
    first.start()
    eventually(lambda: "/0" in site.paths())
    second = program.run("run", "s")
    release.set()
    first.join()
    assert "skipped" in second.stdout
    assert "still running" in second.stdout


@pytest.mark.needs("nc")
def test_the_timestamp_client_of_the_course_gets_its_timestamp(program: Program) -> None:
    program.write("")
    program.serve()
    done = subprocess.run(["nc", "-q", "1", "127.0.0.1", str(program.port)], input="hello without a newline", text=True,
                          capture_output=True, timeout=10, check=True)
    assert done.stdout.startswith("[")
    assert done.stdout.rstrip("\n").endswith("] hello without a newline")
    assert program.run("ping", "hi", "there").stdout.endswith("] hi there\n")
    assert [line[-1] for line in program.run("ping", stdin="a\nb\n").stdout.splitlines()] == ["a", "b"]
    assert program.run("status").returncode == 0


def test_the_heartbeat_can_be_asked_while_the_rest_of_the_settings_is_broken(program: Program) -> None:
    program.write("")
    program.serve()
    settings = program.folder / "settings.toml"
    good = settings.read_text()
    for broken in ("[spiders.s]\nstart = 3\n", "[spiders.s\nstart = 'http://site.example/'\n", "[unknown]\nx = 1\n"):
        settings.write_text(broken + good)
        status = program.run("status", "--json")
        assert json.loads(status.stdout)["health"] in {"ok", "degraded"}  # degraded when the service has found the errors
        assert "only the tables [pipeline] and [heartbeat] of the file are used" in status.stderr
        assert program.run("ping", "hi").stdout.endswith("] hi\n")
        link = program.run("url").stdout.strip()
        assert f":{program.port}/?token=" in link
        assert f"to see the status in a browser, open {link.partition('?')[0]}; `pipeline url` prints this link with the token" in program.log()
        assert link.partition("token=")[2] not in program.log()
        assert program.run("history").returncode == 2


def test_the_status_of_the_service_of_another_data_dir_is_refused(program: Program) -> None:
    program.write("")
    program.serve()
    assert program.run("status").returncode == 0
    text = (program.folder / "settings.toml").read_text()
    other = program.folder / "other" / "settings.toml"
    other.parent.mkdir()
    other.write_text(text)
    assert program.run("status", "--settings", str(other)).returncode == 0  # the folder has no data yet that could be another service's
    assert program.run("url", "--settings", str(other)).returncode == 0  # creates the token
    done = program.run("status", "--settings", str(other))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"this heartbeat belongs to the service with the data_dir {program.folder}" in done.stderr
    (program.data / "heartbeat-token").unlink()
    assert program.run("url").returncode == 0  # creates another token, which the service does not know yet
    assert program.run("status").returncode == 0


def test_status_without_a_service_is_failing(program: Program) -> None:
    program.write("")
    done = program.run("status")
    assert done.returncode == 2
    assert str(program.port) in done.stderr


def test_a_demo_port_in_use_is_reported_with_the_setting_to_change(program: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program.write(f"[demo]\nport = {taken.getsockname()[1]}\n")
        done = program.run("serve")
    assert done.returncode == 2
    assert "[demo]" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_once_exits_with_the_result(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    program.write(f'[spiders.s]\nstart = "{site.url}/"\nschedule = "every 1h"\n{ITEMS}')
    assert program.run("serve", "--once").returncode == 0
    site.pages = {"/": Answer("down", 503)}
    program.write(f'[spiders.s]\nstart = "{site.url}/"\nschedule = "every 1s"\nretries = 0\n{ITEMS}')
    assert program.run("serve", "--once").returncode == 1


@pytest.mark.sqlite
def test_after_a_kill_the_next_start_checks_for_damage_and_incomplete_files(program: Program) -> None:
    program.write("")
    program.serve()
    program.kill()
    (program.data / "jars").mkdir(exist_ok=True)
    left = program.data / "jars" / f".shop.txt.{2**22 - 1}-7.tmp"
    left.touch()
    program.serve()
    eventually(lambda: "the database is not damaged" in program.log())
    assert not left.exists()
    assert program.stop() == 0
    before = program.log().count("was not stopped cleanly last time")
    assert program.run("serve", "--once").returncode == 0
    assert program.log().count("was not stopped cleanly last time") == before == 1


def test_a_run_due_in_quiet_hours_starts_by_itself_when_they_end(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<p>x</p>"}
    spider = f'[spiders.s]\nstart = "{site.url}/"\nschedule = "every 1h"\nrobots = false\n'
    program.write(f'{spider}quiet = ["00:00-12:00", "12:00-00:00"]\n{ITEMS}')
    foreground = program.run("run", "s")  # it stops at once; the service goes on with it
    assert "quiet hours until" in foreground.stdout + foreground.stderr
    program.serve()
    store = program.open_store(migrate=False)
    eventually(lambda: {run.outcome for run in runs.history(store)} == {None, Outcome.STOPPED, Outcome.SKIPPED}, within_s=60)
    assert program.status()["health"] == "ok"
    assert site.asked == []
    program.write(spider + ITEMS)  # they are over
    os.kill(program.pid, signal.SIGHUP)
    eventually(lambda: any(run.outcome is Outcome.SUCCEEDED for run in runs.history(store)), within_s=60)
    assert len({run.pass_id for run in runs.history(store)}) == 1
    assert site.paths() == ["/"]
    store.close()


# Stopping runs


@pytest.mark.dispatchers
def test_stop_ends_a_run_at_a_checkpoint_and_the_next_run_continues_its_pass(program: Program, site: PageSite) -> None:
    release = threading.Event()
    chain(site, 8, release)
    tables = f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nschedule = "every 1h"\nrobots = false\n{ITEMS}'
    program.write(tables)
    program.serve()
    eventually(lambda: "/5" in site.paths(), within_s=60)
    assert program.run("stop", "1", "--no-wait").stdout == "s run 1: the stop is requested\n"
    eventually(lambda: "run 1 stops at a checkpoint" in program.log(), within_s=60)
    # The service says so before its child knows, which could fetch the last pages first.
    eventually(lambda: "a person has asked to stop the run" in (program.data / "logs" / "runs" / "1.log").read_text(), within_s=60)
    release.set()
    eventually(lambda: "run 1: stopped" in program.log(), within_s=60)
    assert program.stop() == 0
    program.serve()  # a restart does not resume what a person has stopped
    assert program.run("stop", "s").stderr == "no run of s waits or is in progress\n"
    assert program.run("run", "s").returncode == 0
    last, first = program.history()
    assert (last["outcome"], last["complete"], last["progress"]["pages"]) == ("succeeded", True, 8 - first["progress"]["pages"])
    assert (first["outcome"], first["error"].partition(";")[0], first["pass"]) == ("stopped", "stopped on request", last["pass"])


@pytest.mark.sqlite
def test_stop_ends_a_run_in_the_foreground_and_a_run_that_waits(program: Program, site: PageSite) -> None:
    release = threading.Event()
    chain(site, 8, release)
    program.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\noverlap = "queue"\nrobots = false\n{ITEMS}')
    with ThreadPoolExecutor() as threads:
        running = threads.submit(program.run, "run", "s")
        eventually(lambda: "/5" in site.paths(), within_s=60)
        store = program.open_store(migrate=False)
        now = datetime.now(UTC)
        waiting = runs.claim_slot(store, "s", "next", due_at=now, reason="schedule", now=now, overlap="queue")
        assert waiting is not None
        stopped = threads.submit(program.run, "stop", "s", "--json")
        eventually(lambda: "a person has asked to stop the run" in (program.data / "logs" / "runs" / "1.log").read_text(), within_s=60)
        release.set()
        assert [(run["run"], run["outcome"]) for run in json.loads(stopped.result().stdout)] == [(1, "stopped"), (waiting.id, "stopped")]
        assert running.result().returncode == 1
    assert program.run("stop", "1").stderr.startswith("the run has ended already: s run 1: stopped")
    assert program.run("stop", "99").returncode == program.run("stop", "nobody").returncode == 2
    store.close()
