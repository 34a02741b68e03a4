"""Fixtures: a store, a file server, and a bench that runs download pools on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from sqlalchemy import select

from pipeline.download.limits import DownloadLimits
from pipeline.download.pool import DownloadPool
from pipeline.download.storage.paths import FolderLayout
from pipeline.download.worker import SiteAccess
from pipeline.model import Download, Item, Page, Run, StoredFile
from pipeline.session.errors import translate
from pipeline.store.crawl import commit
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import download_files, downloads
from pipeline.store.runs import runs
from tests.empty_store import open_empty_store
from tests.servers.files import FileServer, file_server

PLAIN = FolderLayout()
QUICK = DownloadLimits(workers=2, lease_renewal_s=5.0, backoff_s=0.01, keep_free_bytes=0, stall_s=5.0, connect_s=5.0)


def session() -> requests.Session:
    """A session without the environment's proxies and .netrc. The pool closes it."""
    client = requests.Session()
    client.trust_env = False
    return client


@dataclass
class Bench:
    """One spider's store and the server of its files."""

    store: Store
    server: FileServer
    limits: DownloadLimits = QUICK
    passes: int = 0

    def new_run(self, spider: str = "books") -> Run:
        """A started run of a new pass (or of the one that is still open)."""
        self.passes += 1
        now = datetime.now(UTC)
        claimed = runs.claim_slot(self.store, spider, str(self.passes), due_at=now, reason="manual", now=now)
        assert claimed is not None
        run = runs.start_run(self.store, claimed.id, owner=self.store.owner, now=now, limit=9)
        assert run is not None
        return run

    def end(self, run: Run, *, keep_open: bool = False) -> None:
        runs.end_run(self.store, run, runs.Ending(runs.Outcome.SUCCEEDED, keep_open=keep_open), None,
                     now=datetime.now(UTC))

    def ask_for(self, run: Run, *wanted: Download | str, items: Sequence[Item] = ()) -> None:
        files = tuple(Download(url=each) if isinstance(each, str) else each for each in wanted)
        now = datetime.now(UTC)
        page = Page("http://site/", 200, now, downloads=files, items=tuple(items))
        commit.commit_pages(self.store, run, [page], now=now)

    def pool(self, run: Run, *, client: Callable[[], requests.Session] = session, layout: FolderLayout = PLAIN,
             leave_alone: Callable[[str, float], None] = lambda url, seconds: None,
             clock: Callable[[], datetime] = lambda: datetime.now(UTC), **limits: object) -> DownloadPool:
        return DownloadPool(self.store, run, SiteAccess(client, translate, leave_alone=leave_alone),
                            replace(self.limits, **limits),  # type: ignore[arg-type]
                            layout=layout, clock=clock)

    def fetch(self, run: Run, **options: object) -> DownloadPool:
        """Fetch what waits in the run's pass. options: as of `pool`."""
        pool = self.pool(run, **options)  # type: ignore[arg-type]
        pool.start()
        pool.drain()
        return pool

    def get(self, *wanted: Download | str, **options: object) -> DownloadPool:
        """One whole run: ask for files, fetch them, end the run."""
        run = self.new_run()
        self.ask_for(run, *wanted)
        pool = self.fetch(run, **options)
        self.end(run)
        return pool

    @property
    def files(self) -> list[StoredFile]:
        with self.store.read() as connection:
            rows = connection.execute(select(download_files).order_by(download_files.c.id))
            return [StoredFile(**{name: value for name, value in row._asdict().items() if name not in ("download_id", "doomed_at")})
                    for row in rows]

    def content(self, file: StoredFile) -> bytes:
        return self.store.files.path(file.key).read_bytes()

    def row(self, url: str) -> dict[str, object]:
        with self.store.read() as connection:
            return connection.execute(select(downloads).where(downloads.c.url == url)).one()._asdict()

    @property
    def folder(self) -> Path:
        return self.store.data_dir / "downloads" / "books"

    @property
    def names(self) -> list[str]:
        """Files under a final name."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*")
                      if path.is_file() and path.parent.name != ".parts")

    @property
    def parts(self) -> list[Path]:
        return sorted((self.folder / ".parts").iterdir())


@pytest.fixture(scope="module")
def _server() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


@pytest.fixture
def server(_server: FileServer) -> FileServer:
    _server.served.clear()
    _server.asked.clear()
    return _server


@pytest.fixture
def bench(tmp_path: Path, server: FileServer) -> Iterator[Bench]:
    store = open_empty_store(tmp_path / "var")
    yield Bench(store, server)
    store.close()
