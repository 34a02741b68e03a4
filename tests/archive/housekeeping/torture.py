"""Kills the end of a run and the housekeeping of the archive before each of their lines.

The next process then goes on.

`python -m tests.torture archive/housekeeping` kills at every line the first three times that it is reached, and with the files in an object store
the first time; the suite kills at a sample.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO
from unittest.mock import patch

from pipeline.archive.housekeeping import merging
from pipeline.archive.housekeeping.housekeeping import HousekeepingOptions, do_housekeeping, is_due
from pipeline.archive.housekeeping.segments import store_segments
from pipeline.store import Store, open_store
from pipeline.store.files import archive_files
from pipeline.store.files.object_storage import ObjectStorage
from tests.archive.housekeeping.archived import (
    NOW,
    YESTERDAY,
    files_without_row,
    merged_and_segments,
    pages,
    settings_of,
    written,
)
from tests.archive.housekeeping.conftest import object_storage
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

CUT = ("pipeline/archive/housekeeping/", "pipeline/archive/writing/day_file.py", "pipeline/archive/writing/repair.py", "pipeline/archive/writing/part_file.py",
       "pipeline/store/files/archive_files.py", "pipeline/store/files/local_files.py", "pipeline/store/files/object_files.py",
       "pipeline/store/files/object_upload.py", "pipeline/store/files/object_cache.py")
"""The modules before whose lines the process is killed."""
CROWDED = 3
"""How many segments of today are merged."""
AT_ONCE = HousekeepingOptions(settled_s=0)
KILLED, ENDED = 9, 0
Line = tuple[str, int, int]
"""A file, a line of it, and how often the line was reached before."""


def prepare(folder: Path, storage: ObjectStorage | None = None) -> None:
    """Make a store with a file that is too old, a merged day, and everything that can be left of killed runs."""
    store, settings = open_store(folder / "data", storage=storage), settings_of(folder, 'keep = "9d"')
    store_segments(store, settings, "shop", 1, written(store, "o", NOW - timedelta(days=20)))
    store_segments(store, settings, "shop", 2, written(store, "a", YESTERDAY))
    do_housekeeping(store, settings, AT_ONCE, now=NOW - timedelta(days=8))  # merges the old day only
    do_housekeeping(store, settings, AT_ONCE, now=NOW)
    store_segments(store, settings, "shop", 3, written(store, "b", YESTERDAY))
    written(store, "c", YESTERDAY)
    written(store, "d", YESTERDAY, closed=False)
    store_segments(store, settings, "shop", 4, written(store, "o", NOW - timedelta(days=19)))
    for name in "ghi":
        store_segments(store, settings, "shop", 5, written(store, name, NOW))
    store.close()


def act(store: Store, folder: Path) -> None:
    """What is killed: the end of a run, and the housekeeping."""
    settings = settings_of(folder, 'keep = "9d"')
    store_segments(store, settings, "shop", 5, written(store, "e", YESTERDAY) + written(store, "f", NOW))
    do_housekeeping(store, settings, AT_ONCE, now=NOW)


def prove(folder: Path, storage: ObjectStorage | None = None, objects: Callable[[], Sequence[str]] = tuple, *, before: str = "") -> None:
    """Let the next process do the housekeeping, and compare. Raises AssertionError. before: the pages that must be there."""
    store, settings = open_store(folder / "data", storage=storage), settings_of(folder, 'keep = "9d"')
    try:
        readable = pages(store)
        assert not [name for name, count in readable.items() if count > 1 and name != "o"], f"doubled before the next process: {readable}"
        assert set(before) <= set(readable), f"lost until the next process: {readable}"
        kept = do_housekeeping(store, settings, AT_ONCE, now=NOW)
        assert not kept.problems
        found = pages(store)
        assert found - Counter("ef") == Counter("abcdghi"), found
        assert max(found.values()) == 1
        days, segments = merged_and_segments(store)
        assert 1 <= segments <= 3, archive_files.files_of(store)  # of today
        assert all(name.startswith("2026-12-30") for name in days)
        assert not files_without_row(store, objects())
        assert not is_due(store, settings, AT_ONCE, now=NOW)
    finally:
        store.close()


class Killer:
    """Performs `act` in processes that are killed before a line. s3: where the files are; None: on the disk.

    With an object store, a process that has not used obstore yet forks them: obstore has threads, and a fork of this process would hang.
    """

    def __init__(self, s3: S3Server | None) -> None:
        self._forker = None if s3 is None else subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "--fork", s3.url, s3.bucket], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def kill_at(self, folder: Path, line: Line | None) -> tuple[int, list[Line]]:
        """Return the exit code of the process, and the lines that it reached if `line` is None."""
        if self._forker is None:
            return _forked(folder, line, None)
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps([str(folder), line]) + "\n")
        self._forker.stdin.flush()
        code, lines = json.loads(self._forker.stdout.readline())
        return code, [(name, number, count) for name, number, count in lines]

    def close(self) -> None:
        if self._forker is not None:
            self._forker.communicate(timeout=60)


def _forked(folder: Path, line: Line | None, storage: ObjectStorage | None) -> tuple[int, list[Line]]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            _act(folder, line, storage, out)
    os.close(writing)
    with os.fdopen(reading) as source:
        text = source.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), _lines(text)


def _fork_as_told(url: str, bucket: str) -> None:
    """Perform `act` for each line of standard input, and write what became of it."""
    storage = ObjectStorage(bucket, "p", endpoint=url, region="us-east-1", access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    with patch.object(merging, "CROWDED", CROWDED):
        for told in sys.stdin:
            folder, line = json.loads(told)
            print(json.dumps(_forked(Path(folder), tuple(line) if line else None, storage)), flush=True)


def _lines(text: str) -> list[Line]:
    return [(name, int(number), int(count)) for name, number, count in (each.split("\t") for each in text.splitlines())]


def _act(folder: Path, line: Line | None, storage: ObjectStorage | None, out: TextIO) -> NoReturn:
    """Perform `act`, and end this process; before a line, or at the end."""
    reached: Counter[tuple[str, int]] = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not any(part in name for part in CUT):
            return None
        if event == "line":
            place = name, frame.f_lineno
            if line == (*place, reached[place]):
                os._exit(KILLED)
            if line is None:
                out.write(f"{name}\t{frame.f_lineno}\t{reached[place]}\n")
            reached[place] += 1
        return trace

    store = open_store(folder / "data", storage=storage)
    sys.settrace(trace)
    code = 1
    try:
        act(store, folder)
        code = ENDED
    finally:
        sys.settrace(None)
        out.flush()
        os._exit(code)


def main(folder: Path, count: int | None, seed: int = 0, s3: S3Server | None = None) -> int:
    """Kill at `count` lines, or at all; return how many there were. s3: where the files are; None keeps them on the disk."""
    with patch.object(merging, "CROWDED", CROWDED):
        return _main(folder, count, seed, s3)


def _main(folder: Path, count: int | None, seed: int, s3: S3Server | None) -> int:
    prepare(folder / "template", None if s3 is None else object_storage(s3))
    objects = {} if s3 is None else s3.objects()
    killer = Killer(s3)
    try:
        shutil.copytree(folder / "template", folder / "all")
        code, lines = killer.kill_at(folder / "all", None)
        assert code == ENDED
        _prove(folder / "all", s3, "abeghi")
        lines = [line for line in lines if line[2] < (3 if s3 is None else 1)]
        if count is not None:
            lines = random.Random(seed).sample(lines, count)
        for number, line in enumerate(lines):
            trial = folder / str(number)
            shutil.copytree(folder / "template", trial)
            if s3 is not None:
                s3.restore(objects)
            _kill(killer, trial, line, s3)
            shutil.rmtree(trial)
    finally:
        killer.close()
    return len(lines)


def _kill(killer: Killer, trial: Path, line: Line, s3: S3Server | None) -> None:
    code, _ = killer.kill_at(trial, line)
    assert code == KILLED, line
    try:
        _prove(trial, s3, "abghi")
    except Exception as error:
        raise AssertionError(f"killed before {line}: {error}") from error


def _prove(folder: Path, s3: S3Server | None, before: str) -> None:
    if s3 is None:
        prove(folder, before=before)
    else:
        prove(folder, object_storage(s3), lambda: [key.removeprefix("p/") for key in s3.checksums("p/archive/")], before=before)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fork"]:
        _fork_as_told(*sys.argv[2:])
        sys.exit()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else None
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    print("seed", seed)
    for server in (None, S3Server()):
        with tempfile.TemporaryDirectory() as temporary, server or nullcontext():
            print(main(Path(temporary), count, seed, server), "kills", "with an object store" if server else "on the disk", flush=True)
