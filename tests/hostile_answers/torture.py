"""Hostile responses for pages and files of a real run: each may fail only itself.

`python -m tests.hostile_answers.torture --answers 10000 --seed 1` asks the program for that many.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.servers.hostile_answers import HostileServer
from tests.servers.ports import free_port
from tests.servers.program import Program

SETTINGS = """
[spiders.site]
start = ["{url}/"]
follow = ["a.page"]
download = ["a.file"]
robots = false
retries = 0
concurrency = 16
timeout = "5s"
[spiders.site.items]
each = "p.good"
key = ["name"]
[spiders.site.items.fields]
name = "b"
[spiders.site.downloads]
attempts = 1
per_host = 8
timeout = "5s"
"""


def listing(seeds: range) -> bytes:
    """Hostile pages and files, with good ones among them."""
    links = [f"<a class={kind} href=/h/{seed}>x</a>" for seed in seeds for kind in (("page", "file") if seed % 2 else ("file", "page"))[:1]]
    good = [f"<a class=page href=/good/{n}>g</a><a class=file href=/file/{n}>f</a>" for n in range(GOOD)]
    step = max(1, len(links) // GOOD)
    return b"<p class=good><b>start</b></p>" + "".join(
        "".join(links[n * step:(n + 1) * step]) + good[n] for n in range(GOOD)).encode() + "".join(links[GOOD * step:]).encode()


GOOD = 20


def prove(folder: Path, *, answers: int, seed: int) -> str:
    """Run the crawl twice and check that the good pages and files are there. Returns the run's line."""
    good = {f"/good/{n}": b"<p class=good><b>good %d</b></p>" % n for n in range(GOOD)} | {f"/file/{n}": b"%d" % n * 1000 for n in range(GOOD)}
    with HostileServer(good) as server:
        server.good["/"] = listing(range(seed * 10**6, seed * 10**6 + answers))
        program = Program(folder, free_port())
        program.write(SETTINGS.format(url=server.url))
        for _ in range(2):  # the second meets what the first left behind
            done = program.run("run", "site", timeout_s=600)
            assert done.returncode == 0, f"the run failed: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            line = next(line for line in done.stdout.splitlines() if "succeeded after" in line)
        found = {json.loads(each)["name"] for each in program.run("items", "site").stdout.splitlines()}
        assert found == {"start"} | {f"good {n}" for n in range(GOOD)}, found
        files = {path.read_bytes() for path in (program.data / "downloads" / "site").rglob("*") if path.is_file() and path.suffix != ".part"}
        missing = [n for n in range(GOOD) if b"%d" % n * 1000 not in files]
        assert not missing, f"good files are missing: {missing}"
        assert not list((program.data / "downloads" / "site" / ".parts").glob("*"))
        strange = [path for path in program.data.rglob("*") if path.is_symlink()]
        assert not strange, strange
    return line


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--answers", type=int, default=10_000)
    given.add_argument("--seed", type=int, default=1)
    options = given.parse_args()
    began = time.monotonic()
    left = options.answers
    while left > 0:
        size = min(left, 2000)
        with tempfile.TemporaryDirectory() as folder:
            print(prove(Path(folder), answers=size, seed=options.seed + left), flush=True)
        left -= size
    print(f"{options.answers} hostile answers, each twice, in {time.monotonic() - began:.0f} s: each cost itself")
    return 0


if __name__ == "__main__":
    sys.exit(main())
