"""Downloads under faults and kills: `python -m tests.download.torture --rounds 200`.

Each round fetches one file with a real downloading process, with one or more faults: the connection is reset, the server or
the proxy restarts, the process is killed with -9, the disk is full (a tmpfs where this user may mount one), or the file
changes on the server. At the end the file must equal its source. At no moment may another file exist under a final name. If
the file did not change, a new attempt may request only bytes that no checkpoint had.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import requests

from pipeline.download.limits import DownloadLimits
from pipeline.download.pool import DownloadPool
from pipeline.download.storage.paths import FolderLayout
from pipeline.download.storage.retention import delete_surplus
from pipeline.download.worker import SiteAccess
from pipeline.errors import DiskFullError
from pipeline.model import Download, Page
from pipeline.session.errors import translate
from pipeline.settings import load
from pipeline.store.crawl import commit
from pipeline.store.files import versions
from pipeline.store.open import open_store
from pipeline.store.runs import runs
from tests.servers.commands import ForkedProcess, forked_call
from tests.servers.files import Asked, FileServer, Served, file_server, http_date

KINDS = ("reset", "killed", "server", "proxy", "full", "changed")
LIMITS = DownloadLimits(workers=2, backoff_s=0.005, backoff_max_s=0.05, attempts=50, keep_free_bytes=0, sync_bytes=256 * 1024, chunk_bytes=256 * 1024,
                connect_s=5.0, stall_s=5.0)
UNSYNCED = LIMITS.sync_bytes + 256 * 1024
DONE, FULL, FAILED = 0, 6, 1
DEADLINE_S = 60.0


def download(data_dir: str, run_id: int, attempt: int, proxy: str) -> None:
    """The main function of a child: fetch the waiting files as a run does.

    Its clock is ahead, so that the leases of killed children have expired.
    """
    store = open_store(Path(data_dir), migrate=False)
    run = runs.get_run(store, run_id)
    assert run is not None

    def client() -> requests.Session:
        made = requests.Session()
        made.trust_env = False
        made.proxies = {"http": proxy} if proxy else {}
        made.headers["X-Process"] = str(attempt)  # whose request it was, for the server's log
        return made

    made = DownloadPool(store, run, SiteAccess(client, translate), LIMITS,
                        clock=lambda: datetime.now(UTC) + timedelta(minutes=attempt))
    made.start()
    made.drain()
    os._exit(FULL if isinstance(made.fatal, DiskFullError) else FAILED if made.fatal or made.figures().failed else DONE)


@dataclass
class Tally:
    rounds: int = 0
    attempts: int = 0
    requests: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)
    wasted: int = 0
    checked: int = 0
    resumed: int = 0
    sent: int = 0
    needed: int = 0


class Torture:
    """Runs the rounds on its servers."""

    def __init__(self, seed: int, folder: Path, *, max_bytes: int = 6_000_000) -> None:
        self.seed = seed
        self.folder = folder
        self.max_bytes = max_bytes
        self.tally = Tally()
        self.served: dict[str, Served] = {}
        self.site = FileServer(served=self.served)
        self.proxy = FileServer(served=self.served)
        self.site.start()
        self.proxy.start()

    def close(self) -> None:
        self.site.stop()
        self.proxy.stop()

    def run(self, rounds: int) -> Tally:
        for number in range(rounds):
            # A round can be repeated alone: its dice depend on the seed and its number only.
            self.round(number, random.Random(f"{self.seed}/{number}"))
        return self.tally

    def round(self, number: int, dice: random.Random) -> None:
        kinds = dice.sample(KINDS, dice.choice((1, 1, 2, 3)))
        if number < len(KINDS):
            kinds = [KINDS[number]]
        data_dir = self.folder / f"round-{number}"
        data_dir.mkdir(parents=True)
        mounted = "full" in kinds and can_mount() and mount(data_dir, self.max_bytes + 8_000_000)
        try:
            Round(self, number, dice, kinds, data_dir, tiny=mounted).play()
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(data_dir)], check=True)
            shutil.rmtree(data_dir)
        self.tally.rounds += 1
        self.tally.kinds.update(kinds)


class Round:
    def __init__(self, torture: Torture, number: int, dice: random.Random, kinds: list[str], data_dir: Path, *,
                 tiny: bool) -> None:
        self.torture, self.number, self.dice, self.kinds, self.data_dir = torture, number, dice, kinds, data_dir
        self.tiny = tiny
        self.path = f"/{number}/file.bin"
        self.body = dice.randbytes(dice.randrange(1, torture.max_bytes))
        validator = {"etag": f'"{number}-1"'} if dice.random() < 0.7 else {"last_modified": http_date(10**9 + number)}
        self.served = Served(self.body, pause_s=0.0005, **validator)
        self.served.chunked = tiny or dice.random() < 0.2  # an announced length would be refused before the first byte
        torture.served[self.path] = self.served
        self.sources = {hashlib.sha256(self.body).hexdigest()}
        self.child: ForkedProcess | None = None
        self.watching = threading.Event()
        self.wrong: list[str] = []
        self.on_disk: list[int] = []

    def play(self) -> None:
        store = open_store(self.data_dir)
        now = datetime.now(UTC)
        claimed = runs.claim_slot(store, "torture", "1", due_at=now, reason="manual", now=now)
        assert claimed is not None
        run = runs.start_run(store, claimed.id, owner="round", now=now, limit=1)
        assert run is not None
        url = self.torture.site.url + self.path
        commit.commit_pages(store, run, [Page(url, 200, now, downloads=(Download(url),))], now=now)
        store.close()
        for kind in self.kinds:
            getattr(self, f"_{kind}")()
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            self._until_done(run.id)
        finally:
            self.watching.set()
            watcher.join()
        self._check()

    def _until_done(self, run_id: int) -> None:
        proxy = self.torture.proxy.url if "proxy" in self.kinds else ""
        end = time.monotonic() + DEADLINE_S
        for attempt in range(100):
            self.torture.tally.attempts += 1
            self.child = forked_call(download, str(self.data_dir), run_id, attempt, proxy)
            code = self.child.wait(max(0.0, end - time.monotonic()))
            self._note_part()
            self.torture.tally.ends[code] += 1
            if code == DONE:
                return
            if code == FULL:
                (self.data_dir / "filler").unlink(missing_ok=True)
            else:
                assert code == -9, f"round {self.number} {self.kinds}: the child ended with {code}"
        raise AssertionError(f"round {self.number} {self.kinds}: never done")

    # Faults

    def _somewhere(self) -> int:
        """An offset in the body; in one of five cases its end, so that faults occur after the body, too."""
        return self.dice.randrange(len(self.body)) + 1 if self.dice.random() < 0.8 else len(self.body)

    def _reset(self) -> None:
        self.served.gentle = self.dice.random() < 0.5  # by FIN all that was sent arrives, by RST it may not
        self.served.cuts = [self._somewhere() for _ in range(self.dice.randrange(1, 5))]

    def _killed(self) -> None:
        for _ in range(self.dice.randrange(1, 4)):
            self.served.at.append((self._somewhere(), self._kill))

    def _kill(self) -> None:
        child = self.child
        if child is not None and child.returncode is None:
            delay_s = self.dice.choice((0.0, 0.001, 0.003, 0.01))
            threading.Event().wait(delay_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def _server(self) -> None:
        self.served.at.append((self._somewhere(), lambda: self._restart("site")))

    def _proxy(self) -> None:
        self.served.at.append((self._somewhere(), lambda: self._restart("proxy")))

    def _restart(self, which: str) -> None:
        """Restart a server in another thread: the caller is a connection of that server."""
        def restart() -> None:
            old: FileServer = getattr(self.torture, which)
            old.stop()
            again = FileServer(old.port, self.torture.served)
            again.asked = old.asked
            again.start()
            setattr(self.torture, which, again)

        threading.Thread(target=restart, daemon=True).start()

    def _full(self) -> None:
        if self.tiny:
            filler = self.data_dir / "filler"
            room = shutil.disk_usage(self.data_dir).free - self.dice.randrange(len(self.body)) - 2_500_000
            filler.write_bytes(bytes(max(0, room)))

    def _changed(self) -> None:
        other = self.dice.randbytes(self.dice.randrange(1, self.torture.max_bytes))
        self.sources.add(hashlib.sha256(other).hexdigest())

        def change() -> None:
            self.served.body = other
            if self.served.etag:
                self.served.etag = f'"{self.number}-2"'
            else:
                self.served.last_modified = http_date(10**9 + self.number + 1000)

        self.served.cuts = [self._somewhere()]
        # A body is chosen when the answer begins: this changes what the next one gets.
        self.served.at.append((1, change))

    # Checks

    def _watch(self) -> None:
        """Check all the time that no wrong file has a final name."""
        folder = self.data_dir / "downloads" / "torture"
        while not self.watching.wait(0.002):
            self._look(folder)
        self._look(folder)

    def _look(self, folder: Path) -> None:
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return
        for name in names:
            try:
                found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            except FileNotFoundError:
                continue  # the attempt that resumes its part removed it
            if found not in self.sources:
                self.wrong.append(name)

    def _note_part(self) -> None:
        parts = self.data_dir / "downloads" / "torture" / ".parts"
        self.on_disk.append(max((part.stat().st_size for part in parts.glob("*.part")), default=0))

    def _check(self) -> None:
        what = f"round {self.number} {self.kinds}"
        assert not self.wrong, f"{what}: wrong files under final names: {self.wrong}"
        folder = self.data_dir / "downloads" / "torture"
        files = [path for path in folder.iterdir() if path.is_file()]
        assert len(files) == 1, f"{what}: {[path.name for path in files]}"
        # A change during a response does not affect that response: either version is right, a mixture is not.
        assert hashlib.sha256(files[0].read_bytes()).hexdigest() in self.sources, f"{what}: differs from its source"
        assert list((folder / ".parts").iterdir()) == [], f"{what}: parts left over"
        server = self.torture.proxy if "proxy" in self.kinds else self.torture.site
        asked = server.asked_for(self.path)
        self.torture.tally.requests += len(asked)
        self.torture.tally.resumed += sum(1 for each in asked if each.status == 206)
        self.torture.tally.sent += sum(each.sent for each in asked)
        self.torture.tally.needed += len(self.body)
        if "changed" not in self.kinds:
            self._check_fetched_once(asked, what)

    def _check_fetched_once(self, asked: list[Asked], what: str) -> None:
        """Check in the server's log that no byte on the disk is requested again.

        A process resumes the bytes that the one before it left on the disk; after a gentle end, all that were sent.
        """
        before: Asked | None = None
        for each in asked:
            start, process = _start(each), int(each.headers["x-process"])
            if before is None or process != int(before.headers["x-process"]):
                self._not_beyond(self.on_disk[process - 1] if process else 0, start, what)
            elif self.kinds == ["reset"] and self.served.gentle:
                self._not_beyond(_start(before) + before.sent, start, what)
            before = each

    def _not_beyond(self, had: int, start: int, what: str) -> None:
        wasted = max(0, had - start)
        self.torture.tally.wasted = max(self.torture.tally.wasted, wasted)
        self.torture.tally.checked += 1
        assert wasted <= UNSYNCED, f"{what}: {had} bytes were on the disk, but the request starts at {start}"


def _start(asked: Asked) -> int:
    return int(asked.headers.get("range", "bytes=0-")[6:-1])


def delete_until(data_dir: str, settings_file: str, line: int, report: str) -> None:
    """The main function of a child: delete surplus files, and die at the n-th line of our code (0: count the lines)."""
    store = open_store(Path(data_dir), migrate=False)
    settings = load(Path(settings_file))
    seen = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.endswith(("retention.py", "download_folder.py", "versions.py", "safe_folders.py")):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    delete_surplus(store, settings, now=datetime.now(UTC))
    sys.settrace(None)
    Path(report).write_text(str(seen))
    os._exit(DONE)


def retention_torture(folder: Path, *, seed: int, sample: int = 0) -> int:
    """Kill the deletion of files at every line, or at `sample` lines, and check. Returns the number of lines."""
    settings_file, report = folder / "settings.toml", folder / "report"
    settings_file.write_text('[spiders.torture]\nstart = "http://x.example/"\n[spiders.torture.downloads]\nversions = 1\n'
                             'path = "{host}/{name}"\nquota = "3kB"\n')

    def child(data_dir: Path, line: int) -> int:
        return forked_call(delete_until, str(data_dir), str(settings_file), line, str(report)).wait(DEADLINE_S)

    with file_server() as server:
        _some_versions(folder / "full", server)
        shutil.copytree(folder / "full", folder / "0")
        assert child(folder / "0", 0) == DONE
        lines = int(report.read_text())
        every = range(1, lines + 1)
        for line in random.Random(seed).sample(every, sample) if sample else every:
            data_dir = folder / str(line)
            shutil.copytree(folder / "full", data_dir)
            assert child(data_dir, line) == -signal.SIGKILL
            _check_kept(data_dir, f"killed at line {line}", whole=False)
            assert child(data_dir, 0) == DONE
            _check_kept(data_dir, f"killed at line {line}, and again", whole=True)
            shutil.rmtree(data_dir)
    return lines


def _some_versions(data_dir: Path, server: FileServer) -> None:
    """Five files of 1 kB in two versions each."""
    store = open_store(data_dir)
    now = datetime.now(UTC)

    def client() -> requests.Session:
        made = requests.Session()
        made.trust_env = False
        return made

    for version in range(2):
        claimed = runs.claim_slot(store, "torture", str(version), due_at=now, reason="manual", now=now)
        assert claimed is not None
        run = runs.start_run(store, claimed.id, owner="round", now=now, limit=1)
        assert run is not None
        urls = [server.put(f"/{number}.bin", bytes([number, version]) * 500) for number in range(5)]
        commit.commit_pages(store, run, [Page("http://x/", 200, now, downloads=tuple(map(Download, urls)))], now=now)
        made = DownloadPool(store, run, SiteAccess(client, translate), LIMITS, layout=FolderLayout("{host}/{name}"))
        made.start()
        made.drain()
        runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED), None, now=now)
    store.close()


def _check_kept(data_dir: Path, what: str, *, whole: bool) -> None:
    """Check that every unmarked record has its file and every file its record; whole: the limits are kept, too."""
    store = open_store(data_dir, migrate=False)
    doomed = {key for _, _, key, _ in versions.marked_for_deletion(store)}
    kept = {version.key: version for version in versions.versions(store, "torture", waiting={}, now=datetime.now(UTC))}
    store.close()
    there = {str(path.relative_to(data_dir)) for path in (data_dir / "downloads").rglob("*") if path.is_file()}
    assert set(kept) <= there, f"{what}: recorded and gone: {set(kept) - there}"
    assert there <= set(kept) | doomed, f"{what}: on disk and unknown: {there - set(kept) - doomed}"
    if whole:
        assert (len(there), doomed) == (3, set()), f"{what}: {sorted(there)}, marked {doomed}"


def can_mount() -> bool:
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        if not mount(Path(folder), 1_000_000):
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def mount(folder: Path, size_bytes: int) -> bool:
    """Mount a small file system. Returns whether that was possible."""
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)],
                          check=False, capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(given.seed, Path(folder))
        try:
            tally = torture.run(given.rounds)
        finally:
            torture.close()
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.kinds.items()))
    print(f"{tally.rounds} rounds in {time.monotonic() - started_s:.0f} s, seed {given.seed}: {kinds}")
    print(f"{tally.attempts} processes, {tally.requests} requests, {tally.resumed} of them resumed a part")
    print(f"processes: {tally.ends[-9]} killed, {tally.ends[FULL]} stopped by a full disk, {tally.ends[DONE]} done")
    print(f"every file equals its source; by the server's log {tally.checked} resumed requests repeated at most "
          f"{tally.wasted} bytes (limit {UNSYNCED}); {tally.sent / 1e6:.0f} MB were sent for "
          f"{tally.needed / 1e6:.0f} MB of files, those that changed included")
    with tempfile.TemporaryDirectory() as folder:
        lines = retention_torture(Path(folder), seed=given.seed)
    print(f"deleting what is beyond the limits: killed at each of its {lines} lines, nothing lost or left over")
    if not can_mount():
        print("no tmpfs could be mounted (needs root): no disk was really full")


if __name__ == "__main__":
    main()
