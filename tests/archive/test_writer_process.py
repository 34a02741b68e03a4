"""The process that writes the archive of a long run.

The same files, the same errors, and an end with the run's process.
"""

from __future__ import annotations

import gzip
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.archive.format.redaction import Redaction
from pipeline.archive.writing.repair import describe, repair, unfinished
from pipeline.archive.writing.writer_process import WriterEndedError, WriterProcess
from tests.archive.exchanges import NOW, exchange, warcio_check
from tests.servers.program import eventually

SECRET = "correct horse battery"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[WriterProcess]:
    writer = WriterProcess(tmp_path / "segments", "books", run_id=7, redaction=Redaction(secrets=[SECRET], headers=["X-Mine"]), max_age=timedelta(days=7))
    yield writer
    writer.end()


def test_the_process_writes_what_a_thread_would_write(process: WriterProcess, tmp_path: Path) -> None:
    assert SECRET.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.write([[exchange("/1", body=f"the {SECRET}".encode())], []], NOW)
    assert process.written_bytes > 500
    process.hold([[exchange("/2")], [exchange("/3")]], NOW)
    process.keep([1])
    [closed] = process.close()
    assert describe(closed.path, closed.index_path) == closed
    assert [line.split()[0] for line in closed.index_path.read_text().splitlines()] == ["example,books)/1", "example,books)/3"]
    assert warcio_check(closed.path) == ""
    assert unfinished(tmp_path / "segments") == []


def test_the_process_imports_only_what_writing_needs(tmp_path: Path) -> None:
    spared = "pydantic sqlalchemy scrapy twisted aiohttp requests lxml parsel selectolax cryptography pipeline.settings pipeline.store pipeline.session"
    code = ("import sys\nfrom pipeline.archive.writing.writer_process import main\nmain()\n"
            f"print('LOADED', [name for name in {spared.split()} if name in sys.modules])")
    how = {"folder": tmp_path, "spider": "books", "run_id": 7, "redaction": Redaction(secrets=[SECRET], params=["key"]), "max_age": timedelta(days=7)}
    coded = exchange("/1", body=gzip.compress(f"the {SECRET}".encode()), response_headers=((b"Content-Encoding", b"gzip"),))
    calls = b"".join(pickle.dumps(each) for each in (how, ("write", ([[coded]], NOW)), ("close", ())))
    done = subprocess.run([sys.executable, "-c", code], input=calls, capture_output=True, env={**os.environ, "PYTHONPATH": "."}, timeout=60, check=True)
    assert b"LOADED []" in done.stderr
    assert len(list(tmp_path.glob("*.warc.gz"))) == 1


def test_an_error_of_the_disk_arrives_as_it_is_and_the_process_goes_on(process: WriterProcess, tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("not a folder")
    with pytest.raises(FileExistsError):
        process.write([[exchange("/1")]], NOW)
    assert not process.has_ended
    (tmp_path / "segments").unlink()
    process.write([[exchange("/1")]], NOW)
    assert [closed.records for closed in process.close()] == [4]


def test_signals_to_the_whole_group_do_not_end_it_and_a_killed_one_is_noticed(process: WriterProcess, tmp_path: Path) -> None:
    process.write([[exchange("/1")]], NOW)
    for each in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, each)
    process.write([[exchange("/2")]], NOW)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WriterEndedError):
        process.write([[exchange("/3")]], NOW)
    assert process.has_ended
    process.end()
    [part] = unfinished(tmp_path / "segments")
    closed = repair(part)
    assert closed is not None
    assert closed.records >= 7


def test_the_process_ends_when_the_process_of_the_run_is_killed(tmp_path: Path) -> None:
    program = ("import os, sys\nfrom datetime import timedelta\nfrom pathlib import Path\nfrom tests.archive.exchanges import NOW, exchange\n"
               "from pipeline.archive.format.redaction import Redaction\nfrom pipeline.archive.writing.writer_process import WriterProcess\n"
               f"writer = WriterProcess(Path({str(tmp_path)!r}), 'books', run_id=7, redaction=Redaction(), max_age=timedelta(days=7))\n"
               "writer.write([[exchange('/1')]], NOW)\nprint('written', flush=True)\nsys.stdin.read()\n")
    run = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert run.stdout is not None
    run.stdout.readline()
    run.kill()
    run.communicate(timeout=20)
    [part] = unfinished(tmp_path)
    closed = eventually(lambda: repair(part))  # while the process lives, it holds the part
    assert closed is not None
    assert closed.records == 4
