"""Time from a slot's claim to its first committed page in a running service. Goal: under 100 ms.

    python -m benchmarks.trigger
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import func, select

from pipeline.store import open_store
from pipeline.store.database.schema import pages, runs
from tests.servers.pages import PageSite
from tests.servers.program import Program

RUNS = 30

SETTINGS = """
[spiders.s]
start = "{url}/"
schedule = "every 1s"
robots = false
[spiders.s.items.fields]
x = "p"
"""


def measure(count: int = RUNS) -> list[float]:
    """Milliseconds of each run but the first, which waits for the forkserver to load Scrapy."""
    with tempfile.TemporaryDirectory() as folder, PageSite({"/": "<p>x</p>"}) as site:
        program = Program(Path(folder), 0)
        program.write(SETTINGS.format(url=site.url))
        service = subprocess.Popen([sys.executable, "-m", "pipeline", "serve"], cwd=folder, stderr=subprocess.DEVNULL,
                                   env=program.variables())
        try:
            deadline = time.monotonic() + count * 2 + 30
            while len(site.asked) <= count and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            service.terminate()
            service.wait(30)
        store = open_store(Path(folder, "var"))
        first = select(pages.c.run_id, func.min(pages.c.fetched_at).label("at")).group_by(pages.c.run_id).subquery()
        with store.read() as connection:
            rows = connection.execute(select(runs.c.created_at, first.c.at).join(
                first, first.c.run_id == runs.c.id).order_by(runs.c.id)).all()
        store.close()
    return [(row.at - row.created_at).total_seconds() * 1000 for row in rows[1:]]


def main() -> None:
    found = measure()
    print(f"trigger to first page, {len(found)} runs: min {min(found):.0f} ms, median {statistics.median(found):.0f} ms, "
          f"max {max(found):.0f} ms (goal: under 100 ms)")


if __name__ == "__main__":
    main()
