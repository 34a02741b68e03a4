"""Downloads into an object store under kills and outages.

Run it with `python -m tests.store.files.torture --rounds 200`.

In each round, processes of two nodes with a data_dir each and one database fetch a few files, one process at a time, until all are
stored. Meanwhile a process is killed with -9 at a random moment, the object store refuses connections, answers 503 or cuts them, and
files change on the server between two passes. After each process: every row names a whole object, byte for byte one version of the
file, and no two rows name the same object. At the end, what no row names is deleted after a day, and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from sqlalchemy import select

from pipeline.download.limits import DownloadLimits
from pipeline.download.pool import DownloadPool
from pipeline.download.storage.retention import delete_left_behind
from pipeline.download.worker import SiteAccess
from pipeline.model import Download, Page
from pipeline.session.errors import translate
from pipeline.settings import load
from pipeline.store import Store
from pipeline.store.crawl import commit
from pipeline.store.database.schema import download_files
from pipeline.store.files.object_storage import ObjectStorage
from pipeline.store.files.prefix_owner import OWNER
from pipeline.store.open import open_store
from pipeline.store.runs import runs
from pipeline.workers.forkserver import warm_up
from tests.servers.files import FileServer
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, Fault, S3Server

FAULTS: tuple[Fault, ...] = ("refuse", "503", "cut")
LIMITS = DownloadLimits(workers=3, backoff_s=0.01, backoff_max_s=0.05, attempts=50, keep_free_bytes=0, connect_s=5.0, stall_s=5.0)
DONE, FAILED = 0, 1
ATTEMPTS = 60
DEADLINE_S = 120.0


def opened(folder: str, node: int, storage: ObjectStorage, *, migrate: bool = False) -> Store:
    return open_store(Path(folder, f"node-{node}"), f"sqlite:///{folder}/shared.sqlite3", storage=storage, migrate=migrate)


def download(folder: str, node: int, storage: ObjectStorage, run_id: int, attempt: int, *, impatient: bool) -> None:
    """The main function of a child: fetch the waiting files as a run does. Its clock is ahead: leases of killed children have expired.

    impatient: whether an outage of the object store fails the run at once, as an outage of some minutes would.
    """
    store = opened(folder, node, storage)
    if impatient:
        store.files = store.files.quick
    run = runs.get_run(store, run_id)
    assert run is not None

    def client() -> requests.Session:
        made = requests.Session()
        made.trust_env = False
        return made

    pool = DownloadPool(store, run, SiteAccess(client, translate), LIMITS, clock=lambda: datetime.now(UTC) + timedelta(minutes=attempt))
    pool.start()
    pool.drain()
    os._exit(FAILED if pool.fatal or pool.figures().failed else DONE)


class Torture:
    """Runs the rounds on one file server and one object store."""

    def __init__(self, seed: int, folder: Path, s3: S3Server) -> None:
        self.seed, self.folder, self.s3 = seed, folder, s3
        self.site = FileServer()
        self.site.start()
        warm_up()  # a process of tests has one forkserver, which must have loaded what the processes of runs need
        self.context = multiprocessing.get_context("forkserver")
        self.ends: Counter[int | None] = Counter()
        self.orphans = 0

    def close(self) -> None:
        self.site.stop()

    def round(self, number: int) -> None:
        dice = random.Random(f"{self.seed}/{number}")
        folder = self.folder / f"round-{number}"
        folder.mkdir()
        storage = ObjectStorage(self.s3.bucket, f"round-{number}", endpoint=self.s3.url, region="us-east-1", access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        store = opened(str(folder), 0, storage, migrate=True)
        sources: dict[str, set[str]] = {}
        for version in range(dice.choice((1, 2))):
            newest = self._pass(store, storage, version, sources, dice)
            with store.read() as connection:
                stored = {(row.url, row.sha256) for row in connection.execute(select(download_files))}
            assert newest <= stored, f"{folder.name}: not all files were fetched"
        self._sweep(store, folder, storage)
        store.close()
        shutil.rmtree(folder)

    def _pass(self, store: Store, storage: ObjectStorage, version: int, sources: dict[str, set[str]], dice: random.Random) -> set[tuple[str, str]]:
        """Fetch all files in their next version, whatever happens; return their URLs and checksums."""
        folder = store.data_dir.parent
        now = datetime.now(UTC)
        claimed = runs.claim_slot(store, "books", f"{version}", due_at=now, reason="manual", now=now)
        assert claimed is not None
        run = runs.start_run(store, claimed.id, owner="round", now=now, limit=1)
        assert run is not None
        newest = set()
        for file in range(3):
            content = dice.randbytes(dice.choice((100, 200_000, 9_000_000)))
            url = self.site.put(f"/{file}/same.bin", content, etag=f'"{version}"')
            newest.add((url, hashlib.sha256(content).hexdigest()))
            sources.setdefault(url, set()).add(hashlib.sha256(content).hexdigest())
        commit.commit_pages(store, run, [Page(url, 200, now, downloads=(Download(url),)) for url, _ in newest], now=now)
        for attempt in range(ATTEMPTS):
            self._attempt(folder, storage, run.id, attempt + 100 * version, dice)
            self._check(store, storage, sources)
            if self.last == DONE:
                break
        else:
            raise AssertionError(f"{folder.name}: never done")
        runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED), None, now=now)
        return newest

    def _attempt(self, folder: Path, storage: ObjectStorage, run_id: int, attempt: int, dice: random.Random) -> None:
        """One process on one of the nodes, with a kill, an outage, both or neither."""
        if dice.random() < 0.5:
            self.s3.fail(dice.choice(FAULTS), times=dice.randrange(1, 12))
        child = self.context.Process(target=download, args=(str(folder), attempt % 2, storage, run_id, attempt),
                                     kwargs={"impatient": dice.random() < 0.5})
        child.start()
        if dice.random() < 0.6:
            kill_at, until_s = self.s3.traffic + dice.randrange(1, 60), time.monotonic() + 3
            while child.exitcode is None and self.s3.traffic < kill_at and time.monotonic() < until_s:
                child.join(0.002)
            child.kill()
        ended_s = time.monotonic() + DEADLINE_S
        while child.exitcode is None:
            child.join(1.0)
            self.s3.resume()  # an outage that refuses connections ends after a second
            assert time.monotonic() < ended_s, f"{folder.name}: a process hangs"
        self.s3.resume()
        self.last = child.exitcode
        self.ends[self.last] += 1
        assert self.last in (DONE, FAILED, -9), f"{folder.name}: a process ended with {self.last}"

    def _check(self, store: Store, storage: ObjectStorage, sources: dict[str, set[str]]) -> None:
        objects = self.s3.objects(f"{storage.prefix}/")
        with store.read() as connection:
            rows = connection.execute(select(download_files)).all()
        assert len({row.key for row in rows}) == len(rows), "two rows name one object"
        for row in rows:
            content = objects.get(f"{storage.prefix}/{row.key}")
            assert content is not None, f"{row.key} is missing"
            assert hashlib.sha256(content).hexdigest() == row.sha256, f"{row.key} is not what its row says"
            assert row.sha256 in sources[row.url], f"{row.key} is no version of {row.url}"

    def _sweep(self, store: Store, folder: Path, storage: ObjectStorage) -> None:
        (folder / "settings.toml").write_text('[spiders.books]\nstart = "http://books.example/"\n', "utf-8")
        with store.read() as connection:
            keys = {f"{storage.prefix}/{key}" for key in connection.execute(select(download_files.c.key)).scalars()}
        before = self.s3.objects(f"{storage.prefix}/")
        delete_left_behind(store, load(str(folder / "settings.toml")), now=datetime.now(UTC) + timedelta(days=2))
        after = self.s3.objects(f"{storage.prefix}/")
        owner = {f"{storage.prefix}/{OWNER}"}
        assert after.keys() - owner == keys, after.keys() ^ keys
        self.orphans += len(before.keys() - after.keys())
        for key in after:
            self.s3.delete(key)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, S3Server() as s3:
        torture = Torture(options.seed, Path(folder), s3)
        try:
            for number in range(options.rounds):
                torture.round(number)
                if number % 10 == 9:
                    print(f"{number + 1} rounds, {sum(torture.ends.values())} processes", flush=True)
        finally:
            torture.close()
    ends = ", ".join(f"{count} {'done' if end == DONE else 'failed' if end == FAILED else 'killed'}" for end, count in torture.ends.most_common())
    print(f"{options.rounds} rounds: {ends}; every row names a whole object of its own; {torture.orphans} objects without a row were deleted later")


if __name__ == "__main__":
    main()
