"""Tests with tools nobody here wrote, which `make replay` installs and runs.

pywb replays an exported archive in Chromium, the validator of the WACZ format accepts the export, and warcio finds no fault in a file.
"""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from pipeline.archive.reading.wacz import export
from pipeline.model import RenderedPage
from pipeline.store import open_store
from pipeline.store.files.archive_files import files_of
from tests.archive.exchanges import NOW, exchange, warcio_check
from tests.archive.filled import add_segment, close_day
from tests.servers.program import eventually

TOOLS = Path(__file__).parent / "tools" / ".venv" / "bin"
DAY = timedelta(days=1)
pytestmark = pytest.mark.needs("chromium", "pywb")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of two days: a page that changed, one that did not, one confirmed by 304, a compressed one, a redirect, rendered pages."""
    store = open_store(tmp_path_factory.mktemp("store"))
    packed = ((b"Content-Type", b"text/html; charset=utf-8"), (b"Content-Encoding", b"gzip"), (b"ETag", b'"1"'))
    for ago in (2, 1):
        at = NOW - ago * DAY
        pages = [
            [exchange("/terms", at=at, body=f"<title>t</title><h1>A refund takes {ago * 15} days</h1>".encode())],
            [exchange("/same", at=at, body=b"<h1>Never changed</h1>")],
            [exchange("/packed", at=at, body=gzip.compress(b"<h1>Was compressed</h1>", mtime=0), response_headers=packed) if ago == 2 else
             exchange("/packed", at=at, status=304, reason=b"Not Modified", body=b"", request_headers=((b"If-None-Match", b'"1"'),), response_headers=packed[2:])],
            [exchange("/old", at=at, status=301, reason=b"Moved", body=b"", response_headers=((b"Location", b"/terms"),))],
            [exchange("/app", at=at, body=b"<div id=root></div>", rendered=RenderedPage(b"<h1>Built by a script</h1>", b""))],
            [exchange("/frame", at=at, status=0, body=b"", rendered=RenderedPage(b"<h1>Only in the browser</h1>", b""))]]
        add_segment(store, *pages, now=at)
    close_day(store, f"{NOW - 2 * DAY:%Y-%m-%d}", now=NOW)
    path = tmp_path_factory.mktemp("export") / "books.wacz"
    export(store, "books", path, now=NOW)
    assert [warcio_check(store.files.path(file.key)) for file in files_of(store, "books")] == ["", ""]
    store.close()
    return path


@pytest.fixture(scope="module")
def replay(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of pywb with the files and the index of the export."""
    folder = tmp_path_factory.mktemp("pywb")
    collection = folder / "collections" / "books"
    with zipfile.ZipFile(exported) as package:
        package.extractall(collection)
    (collection / "indexes" / "index.cdxj").write_bytes(gzip.decompress((collection / "indexes" / "index.cdx.gz").read_bytes()))
    (collection / "indexes" / "index.cdx.gz").unlink()
    (collection / "indexes" / "index.idx").unlink()
    (folder / "config.yaml").write_text("framed_replay: false\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "log").open("wb") as log, subprocess.Popen([TOOLS / "wayback", "-b", "127.0.0.1", "-p", str(port)], cwd=folder, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: process.poll() is not None or _accepts(port), within_s=60)
            assert process.poll() is None, (folder / "log").read_text()
            yield f"http://127.0.0.1:{port}/books"
        finally:
            process.terminate()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell") or shutil.which("chromium"), args=["--no-sandbox"] if os.getuid() == 0 else [])
        yield browser.new_page()
        browser.close()


@pytest.mark.parametrize(("page", "at", "text"), [
    ("https://www.books.example/terms", 2, "A refund takes 30 days"), ("https://www.books.example/terms", 1, "A refund takes 15 days"),
    ("https://www.books.example/same", 1, "Never changed"), ("https://www.books.example/packed", 1, "Was compressed"),
    ("https://www.books.example/old", 1, "A refund takes 15 days"), ("https://www.books.example/frame", 1, "Only in the browser"),
    ("urn:dom:https://www.books.example/app", 1, "Built by a script")])
def test_pywb_replays_the_export_in_chromium(replay: str, chromium: Page, page: str, at: int, text: str) -> None:
    chromium.goto(f"{replay}/{NOW - at * DAY:%Y%m%d%H%M%S}/{page}")
    assert chromium.locator("h1").text_content(timeout=10_000) == text


def test_the_validator_of_the_format_accepts_the_export(exported: Path) -> None:
    done = subprocess.run([TOOLS / "wacz", "validate", "-f", exported], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation succeeded" in done.stdout, done.stdout
