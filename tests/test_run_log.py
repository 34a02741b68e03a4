"""Tests of a run's log: rotation and masking."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pipeline.run_log import RunLog
from tests.servers.program import Program


def test_a_full_log_is_renamed_and_a_new_one_is_started(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "1.log", 1000)
    for number in range(100):
        log.write(f"{number:049}\n")
    now, before = (tmp_path / name for name in ("1.log", "1.log.1"))
    numbers = [int(line) for path in (before, now) for line in path.read_text().splitlines()]
    assert numbers == list(range(100 - len(numbers), 100))
    assert now.stat().st_size + before.stat().st_size <= 2100
    assert now.stat().st_mode & 0o777 == 0o600


def test_processes_that_share_a_log_lose_no_line_but_the_oldest(tmp_path: Path) -> None:
    script = ("import sys\nfrom pathlib import Path\nfrom pipeline.run_log import RunLog\n"
              "log = RunLog(Path(sys.argv[1]), 60_000)\n"
              "for number in range(1500):\n    log.write(f'{sys.argv[2]} {number:046}\\n')\n")
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "1.log"), name],
                                cwd=Path(__file__).parents[1]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = [line for name in ("1.log.1", "1.log") for line in (tmp_path / name).read_text().splitlines()]
    assert all(re.fullmatch(r"[ab] \d{46}", line) for line in lines)
    last = {name: [int(line[2:]) for line in lines if line[0] == name] for name in "ab"}
    assert any(found and found[-1] == 1499 for found in last.values())


def test_what_a_spider_prints_is_masked_and_kept_with_its_run(program: Program) -> None:
    (program.folder / "spiders").mkdir()
    (program.folder / "spiders" / "loud.py").write_text(
        "import os, subprocess, scrapy\nclass Loud(scrapy.Spider):\n    async def start(self):\n"
        "        print('printed', os.environ['LOUD_SECRET'], '\\x1b[31m')\n"
        "        subprocess.run(['sh', '-c', 'echo echoed $LOUD_SECRET >&2'])\n        yield {'x': 1}\n")
    program.environment["LOUD_SECRET"] = "hunter2hunter2"
    program.write('[spiders.s]\nspider = "spiders.loud:Loud"\nheaders = { X-Key = { env = "LOUD_SECRET" } }\n')
    program.run("run", "s")
    log = (program.data / "logs" / "runs" / "1.log").read_text("utf-8")
    assert "printed ****" in log
    assert "echoed ****" in log
    assert "hunter2" not in log
    assert "\x1b" not in log
