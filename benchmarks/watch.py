"""Compare watching pages with urlwatch and webchanges.

Run it with `python -m benchmarks.watch [--pages 1000] [--rounds 3]`.

Every page is fetched from nginx on loopback, ten at a time; of each a part is taken as text, compared with what was
stored, and stored. One in ten pages has changed since the run before. Whole processes, start included. The others run
where .venv-peers has them (see benchmarks/_crawlers.py).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._crawlers import HERE, PEERS, give_way, nginx, spread, timed

AT_A_TIME = 10
TWO = "ours, 2 processes"
SETTINGS = """
[pipeline]
data_dir = "var"
[spiders.w]
spider = "watch"
start = {urls}
robots = false
revalidate = false
concurrency = 10
processes = {processes}
watch = {{ part = "#main" }}
"""


def generate(folder: Path, pages: int, version: int) -> None:
    """One page in ten differs between two versions."""
    for number in range(pages):
        edition = version if number % 10 == 0 else 0
        text = "".join(f"<p>Paragraph {n} of page {number}: {'some words ' * 12}</p>" for n in range(20))
        (folder / f"{number}.html").write_text(
            f"<!doctype html><title>Page {number}</title><nav>menu</nav><div id=main><h1>{edition}</h1>{text}</div>")


def ours(folder: Path, urls: list[str], *, processes: int = 1) -> float:
    folder.mkdir(exist_ok=True)
    (folder / "settings.toml").write_text(SETTINGS.format(urls=json.dumps(urls), processes=processes))
    printed, whole_s, _ = timed([sys.executable, "-m", "pipeline", "run", "w", "--json"], folder,
                                env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "HOME": str(folder)})
    run = json.loads(printed)[0]
    assert run["progress"]["pages"] == len(urls), run
    return whole_s


def peer(name: str, folder: Path, urls: list[str]) -> float:
    """urlwatch or webchanges with the same part of the same pages."""
    folder.mkdir(exist_ok=True)
    jobs = folder / "jobs.yaml"
    jobs.write_text("\n---\n".join(
        f"name: page {number}\nurl: {url}\nfilter:\n  - css: '#main'\n  - html2text: re" for number, url in enumerate(urls)))
    config = folder / "config.yaml"
    if not config.exists():
        config.write_text("display:\n  empty-diff: true\n  error: true\n  new: true\n  unchanged: false\n"
                          "report:\n  stdout:\n    color: false\n    enabled: true\n  text:\n    line_length: 75\n    minimal: true\n")
    options = {"urlwatch": ["--urls", str(jobs), "--config", str(config), "--hooks", str(folder / "hooks.py"),
                            "--cache", str(folder / "cache.db")],
               "webchanges": ["--jobs", str(jobs), "--config", str(config), "--hooks", str(folder / "hooks.py"),
                              "--database", str(folder / "db.sqlite"), "--max-workers", str(AT_A_TIME)]}[name]
    printed, whole_s, _ = timed([str(PEERS.with_name(name)), *options], folder, preexec_fn=give_way,
                                env=os.environ | {"HOME": str(folder)})
    assert "page 0" in printed or "Paragraph" in printed or not printed.strip(), printed[:500]
    return whole_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", nargs="*", default=["urlwatch", "webchanges"], help="webchanges takes a minute a round")
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        print("skipped: nginx is not installed")
        return
    peers = [name for name in given.beside if PEERS.with_name(name).exists()]
    for name in set(given.beside).difference(peers):
        print(f"{name} is left out: see the first lines of benchmarks/_crawlers.py")
    times: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "page").mkdir()
        generate(folder / "page", given.pages, 0)
        with nginx(folder) as first:
            urls = [first.replace("/0.html", f"/{number}.html") for number in range(given.pages)]
            for number in range(given.rounds + 1):
                generate(folder / "page", given.pages, number)
                measured = {each: peer(each, folder / each, urls) for each in peers} | {
                    "ours": ours(folder / "ours", urls), TWO: ours(folder / "two", urls, processes=2)}
                for label, whole_s in measured.items() if number else ():  # the first run has nothing to compare with
                    times.setdefault(label, []).append(whole_s)
    print(f"{given.pages} pages, {given.rounds} rounds; seconds of the whole process, min / median / max; load {os.getloadavg()[0]:.1f}")
    for label, seconds in times.items():
        ratios = [[s / own for s, own in zip(seconds, times[own_label], strict=True)] for own_label in ("ours", TWO)]
        print(f"{label:19} {spread(seconds, '7.2f')}   / ours: {spread(ratios[0], '5.2f')}   / with two: {spread(ratios[1], '5.2f')}")


if __name__ == "__main__":
    main()
