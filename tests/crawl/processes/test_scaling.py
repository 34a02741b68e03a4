"""With `processes = "auto"` a run starts as one process, and others join a large crawl.

They join a crawl that one core limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from pipeline.crawl.processes.cores import cpu_quota, idle_core_s, usable_cores
from pipeline.crawl.processes.memory import available_memory_bytes, free_in_groups, own_memory_bytes
from pipeline.crawl.processes.scaling import Load, Thresholds, is_large, reason_for_one_process, reason_to_wait
from pipeline.settings import load
from tests.servers.commands import ForkedProcess, command_server
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program, alive, eventually, parent_of

PAGES = 120
WAIT_S = 60.0
BUSY = Load(busy=0.97, idle_cores=0.9, pages_left=20_000, page_s=0.001, memory_bytes=130_000_000, available_bytes=10**9)
LIMIT_BYTES = 2 * 10**9


@pytest.mark.parametrize(("measured", "processes", "reason"), [
    (BUSY, 1, ""),
    (BUSY, 3, ""),
    (replace(BUSY, idle_cores=None), 1, ""),
    (replace(BUSY, busy=0.6), 1, "limits the speed"),
    (replace(BUSY, idle_cores=0.1), 1, "no other core is idle"),
    (replace(BUSY, memory_bytes=600_000_000), 1, "memory_limit"),
    (replace(BUSY, memory_bytes=300_000_000), 3, "memory_limit"),
    (replace(BUSY, available_bytes=float("inf")), 1, ""),
    (replace(BUSY, available_bytes=300_000_000), 1, "too little memory is available")])
def test_another_process_joins_only_if_it_makes_the_crawl_faster(measured: Load, processes: int, reason: str) -> None:
    found = reason_to_wait(measured, Thresholds(), processes=processes, memory_limit_bytes=LIMIT_BYTES)
    assert reason in found
    assert bool(found) == bool(reason)


@pytest.mark.parametrize(("pages_left", "page_s", "large"), [
    (0, 0.001, False), (4_000, 0.001, False), (6_000, 0.001, True), (50, 0.05, False), (50, 0.2, True)])
def test_a_crawl_is_large_if_its_known_pages_need_much_cpu_time(pages_left: int, page_s: float, large: bool) -> None:
    assert is_large(replace(BUSY, pages_left=pages_left, page_s=page_s), Thresholds()) is large


@pytest.mark.parametrize(("more", "cores", "reason"), [
    ("", 2, ""), ("", 1, "one core"), ("concurrency = 1", 2, "concurrency is 1"), ('delay = "1s"', 2, "delay"),
    ("throttle = true", 2, "throttle"), ('proxy = "environment"', 2, "one proxy"), ('cookies = { file = "jar.txt" }', 2, "one login"),
    ('[spiders.s.login]\nurl = "https://site.example/login"\nfields = { user = "me" }\ncheck = "a"', 2, "one login")])
def test_settings_that_keep_a_run_to_one_process(tmp_path: Path, more: str, cores: int, reason: str) -> None:
    (tmp_path / "jar.txt").write_text("# Netscape HTTP Cookie File\n")
    (tmp_path / "settings.toml").write_text(f'[spiders.s]\nstart = "https://site.example/"\nprocesses = "auto"\n{more}\n')
    table = load(tmp_path / "settings.toml").spiders["s"]
    found = reason_for_one_process(table, cores)
    assert reason in found
    assert bool(found) == bool(reason)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")


@pytest.mark.parametrize(("membership", "files", "cores"), [
    ("0::/", {}, 8),
    ("0::/", {"cpu.max": "max 100000"}, 8),
    ("0::/", {"cpu.max": "150000 100000"}, 1.5),
    ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
    ("0::/of-the-host/x", {"cpu.max": "300000 100000"}, 3),
    ("3:cpu,cpuacct:/a\n0::/", {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, 0.5),
    ("3:cpu:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 8),
    ("5:memory:/a\n0::/", {"memory/a/cpu.max": "100000 100000"}, 8)])
def test_the_cpu_quotas_of_control_groups_limit_the_usable_cores(
        tmp_path: Path, membership: str, files: dict[str, str], cores: float) -> None:
    write(tmp_path, files)
    assert cpu_quota(membership, tmp_path, 8) == cores


V1 = "memory/a/memory."


@pytest.mark.parametrize(("membership", "files", "free"), [
    ("0::/", {}, float("inf")),
    ("0::/a", {"a/memory.max": "max", "a/memory.current": "5", "a/memory.stat": "inactive_file 1"}, float("inf")),
    ("0::/a", {"a/memory.max": "100", "a/memory.current": "90", "a/memory.stat": "anon 3\ninactive_file 20\n"}, 30),
    ("0::/a/b", {"a/memory.max": "100", "a/memory.current": "90", "a/memory.stat": "", "a/b/memory.max": "max"}, 10),
    ("4:memory:/a\n0::/", {V1 + "limit_in_bytes": "100", V1 + "usage_in_bytes": "60", V1 + "stat": "total_inactive_file 5"}, 45)])
def test_the_memory_limits_of_control_groups_limit_the_available_memory(
        tmp_path: Path, membership: str, files: dict[str, str], free: float) -> None:
    write(tmp_path, files)
    assert free_in_groups(membership, tmp_path) == free


def test_the_memory_of_this_process_and_of_the_machine_are_known() -> None:
    assert 10**7 < own_memory_bytes() < 10**11
    assert 0 < available_memory_bytes() < 10**15


def test_the_usable_cores_are_those_of_this_process() -> None:
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(here)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, here)
    assert usable_cores() <= len(here)
    assert (idle_core_s() or 0.0) >= 0.0


ONE = "tests.crawl.processes.eager"
"""The module that lets crawls start another process at once. A single run is forked from the command."""
SEVERAL = "tests.crawl.processes.eager_forkserver"
"""The same, where the runs are forked from a forkserver, as those of a service are."""


class StepSite(PageSite):
    """Answers until `free` requests were answered, and the others when `free` is increased. in_flight: requests that wait."""

    def __init__(self) -> None:
        super().__init__({f"/{number}": self._page for number in range(PAGES)} | {
            "/robots.txt": Answer("User-agent: *\nDisallow: /no/", headers={"Content-Type": "text/plain"}), "/other": "<p>0</p>"})
        self._more = threading.Condition()
        self._free = 0
        self.in_flight = 0
        self.most = 0

    def answer(self, count: int) -> None:
        with self._more:
            self._free += count
            self._more.notify_all()

    def _page(self, asked: Asked) -> Answer:
        with self._more:
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            assert self._more.wait_for(lambda: self._free > 0, WAIT_S)
            self._free -= 1
            self.in_flight -= 1
        number = int(asked.path[1:])
        links = [f"no/{number}", *(range(1, PAGES) if not number else ())]
        return Answer(f"<p>{number}</p>" + "".join(f"<a href=/{link}>" for link in links))


def settings(site: PageSite, more: str = "") -> str:
    return f"""
        [spiders.s]
        start = "{site.url}/0"
        follow = ["a"]
        concurrency = 4
        processes = "auto"
        {more}
        [spiders.s.items]
        key = ["id"]
        fields = {{ id = "p" }}
        [spiders.other]
        spider = "watch"
        start = "{site.url}/other"
        processes = 1
    """


class Command:
    """`pipeline run NAME … --json`, with thresholds that every crawl reaches. names: "s" is the last of them."""

    def __init__(self, program: Program, names: Sequence[str]) -> None:
        self._program = program
        self.errors = ""
        self._files = [TemporaryFile() for _ in range(3)]  # noqa: SIM115  close() closes them
        program.environment["TEST_IMPORTS"] = SEVERAL if len(names) > 1 else ONE
        self.process = ForkedProcess(command_server(), ["run", *names, "--json"], program.folder, program.variables(), self._files)
        del program.environment["TEST_IMPORTS"]
        program.watch(self.process.pid)

    @property
    def log(self) -> str:
        return "".join(path.read_text("utf-8") for path in sorted((self._program.data / "logs" / "runs").glob("*.log")))

    @property
    def followers(self) -> list[int]:
        """The process ids of the followers, which are forked from a forkserver."""
        return sorted(self._program.children_of_the_forkserver())

    @property
    def leader(self) -> int:
        """The process id of the leader, which is forked from the command. Only it and the forkserver lead a session there."""
        forkservers = {parent_of(pid) for pid in self.followers}
        (found,) = (pid for pid in self._program.descendants() - {self.process.pid, *self.followers, *forkservers} if os.getsid(pid) == pid)
        return found

    def has_logged(self, text: str) -> None:
        eventually(lambda: text in self.log, within_s=WAIT_S)

    def end(self) -> dict[str, object]:
        self.process.wait(WAIT_S)
        for file in self._files:
            file.seek(0)
        _, out, self.errors = (file.read().decode() for file in self._files)
        try:
            *_, run = json.loads(out)
        except ValueError:
            raise AssertionError(f"{out}\n{self.errors}\n{self.log}") from None
        assert isinstance(run, dict)
        return run

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_S)
        for file in self._files:
            file.close()


@contextmanager
def started(program: Program, site: StepSite, more: str = "", *, names: Sequence[str] = ("s",), answered: int = 1,
            until: str = "2 processes fetch the pages of this run", fetching: int = 4) -> Iterator[Command]:
    """The command, when it has logged `until`, and `fetching` pages are in flight. answered: how many are."""
    program.write(settings(site, more))
    command = Command(program, names)
    try:
        site.answer(answered)
        command.has_logged(until)
        eventually(lambda: site.in_flight == fetching, within_s=WAIT_S)
        yield command
    finally:
        site.answer(10**6)
        command.close()


def keys(program: Program) -> list[int]:
    return sorted(int(json.loads(line)["id"]) for line in program.run("items", "s", "--format", "jsonl").stdout.splitlines())


@pytest.mark.parametrize("names", [["s"], ["other", "s"]], ids=["forked from the command", "forked from a forkserver"])
def test_a_process_that_joins_shares_pages_concurrency_and_robots_txt(program: Program, names: list[str]) -> None:
    with StepSite() as site, started(program, site, names=names) as command:
        site.answer(10**6)
        run = command.end()
        assert (run["outcome"], run["complete"]) == ("succeeded", True), command.log
        assert f"{PAGES} pages forbidden by robots.txt" in str(run["error"])
        assert sorted(set(site.paths()) - {"/other"}) == sorted(f"/{number}" for number in range(PAGES))
        assert len(site.paths()) == PAGES + len(names) - 1
        assert [asked.path for asked in site.asked].count("/robots.txt") == len(names)  # one for each run
        assert site.most == 4
        assert keys(program) == list(range(PAGES))
        assert command.log.count("is being started:") == 1


def test_up_to_four_processes_join_one_after_another(program: Program) -> None:
    program.environment["CORES"] = "8"
    with StepSite() as site, started(program, site, until="4 processes fetch the pages of this run") as command:
        assert len(command.followers) == 3
        for victim in command.followers[1:]:
            site.answer(10)
            Program.kill_process(victim)
        site.answer(10**6)
        run = command.end()
        assert (run["outcome"], run["complete"]) == ("succeeded", True), command.log
        assert site.most == 4
        assert keys(program) == list(range(PAGES))
        assert command.log.count("is being started:") == 3


def test_a_run_goes_on_if_no_other_process_can_be_started(program: Program) -> None:
    temporary = program.folder / ("x" * 100)  # the path of the forkserver's Unix socket is too long there
    temporary.mkdir()
    program.environment["TMPDIR"] = str(temporary)
    with StepSite() as site, started(program, site, until="has ended unexpectedly") as command:
        assert not command.followers
        site.answer(10**6)
        run = command.end()
        assert (run["outcome"], run["complete"]) == ("succeeded", True), command.log
        assert keys(program) == list(range(PAGES))
        assert "could not be started" in command.errors


def test_a_stop_while_a_process_joins_ends_the_run_at_a_checkpoint(program: Program) -> None:
    with StepSite() as site, started(program, site, answered=0, until="process 2 of at most", fetching=1) as command:
        command.process.send_signal(signal.SIGTERM)
        site.answer(10**6)
        assert command.end()["outcome"] in ("stopped", "succeeded"), command.log
        (run,) = json.loads(program.run("run", "s", "--json").stdout)
        assert (run["outcome"], run["complete"]) == ("succeeded", True), command.log
        assert keys(program) == list(range(PAGES))


@pytest.mark.parametrize("victim", ["follower", "leader"])
def test_a_process_that_was_killed_after_another_joined_loses_nothing(program: Program, victim: str) -> None:
    with StepSite() as site, started(program, site) as command:
        leader, (follower,) = command.leader, command.followers
        site.answer(30)
        eventually(lambda: len(site.paths()) >= 31, within_s=WAIT_S)
        Program.kill_process(leader if victim == "leader" else follower)
        site.answer(10**6)
        run = command.end()
        if victim == "leader":
            assert (run["outcome"], run["progress"]["gone"]) == ("killed", 0)  # type: ignore[index]
            (run,) = json.loads(program.run("run", "s", "--json").stdout)
        else:
            assert "has ended unexpectedly" in command.log
        assert (run["outcome"], run["complete"]) == ("succeeded", True), command.log
        assert keys(program) == list(range(PAGES))
        (again,) = json.loads(program.run("run", "s", "--json").stdout)
        assert (again["complete"], again["progress"]["unchanged"], again["progress"]["gone"]) == (True, PAGES, 0)


def test_after_a_kill_of_the_command_no_process_remains_and_the_next_run_resumes_the_pass(program: Program) -> None:
    with StepSite() as site, started(program, site) as command:
        site.answer(30)
        eventually(lambda: len(site.paths()) >= 31, within_s=WAIT_S)
        started_by_it = program.descendants()
        assert {command.leader, *command.followers} <= started_by_it
        Program.kill_process(command.process.pid)
        eventually(lambda: not alive(started_by_it), within_s=WAIT_S)
        site.answer(10**6)
        (run,) = json.loads(program.run("run", "s", "--json").stdout)
        assert (run["outcome"], run["complete"]) == ("succeeded", True), command.log
        assert keys(program) == list(range(PAGES))
        assert site.paths().count("/0") == 1


def test_a_run_whose_processes_use_too_much_memory_goes_on_with_one(program: Program) -> None:
    with StepSite() as site, started(program, site, 'memory_limit = "190MB"', until="has ended unexpectedly") as command:
        assert not command.followers
        site.answer(10**6)
        run = command.end()
        assert (run["outcome"], run["complete"]) == ("succeeded", True), command.log
        assert keys(program) == list(range(PAGES))


def test_a_run_that_must_have_one_process_says_why_and_starts_no_other(program: Program) -> None:
    (program.folder / "jar.txt").write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\ta\tb\n")
    with StepSite() as site, started(program, site, 'cookies = { file = "jar.txt" }', until="this run uses 1 process for now, because") as command:
        assert not command.followers
        site.answer(10**6)
        assert command.end()["complete"] is True


def test_a_small_site_has_one_process_and_no_forkserver(program: Program) -> None:
    with StepSite() as site:
        program.write(settings(site))
        command = subprocess.Popen([sys.executable, "-m", "pipeline", "run", "s", "--json"], cwd=program.folder, text=True,
                                   env=program.variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        site.answer(1)
        eventually(lambda: site.in_flight == 4, within_s=WAIT_S)
        program.watch(command.pid)
        assert len(program.descendants()) == 1
        site.answer(10**6)
        (run,) = json.loads(command.communicate(timeout=WAIT_S)[0])
        assert run["complete"] is True, run
        assert "process" not in (program.data / "logs" / "runs" / f"{run['run']}.log").read_text().replace("pipeline.crawl.processes", "")
