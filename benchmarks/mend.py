"""Rules proposed for redesigned sites: ten real list pages, thirty redesigns each.

The redesigns are made by tests/redesigns.

The known items are those that the spider extracts from the page as it was. A proposal is right if the engine, with the proposed rules,
extracts what the redesigned pages show: 95 % of the rows with their key and title, each other field in 90 % of the rows, at most 5 %
more rows. Any other proposal is wrong. Then pages that do not list the items any more: any proposal is wrong.

    python -m benchmarks.mend                                  # a few minutes
    python -m benchmarks.mend --seeds 5 --site oscar --show    # and what was proposed
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from pipeline.crawl.mend import mend, merged
from tests.redesigns.judge import documents, what_is_wrong
from tests.redesigns.page import document
from tests.redesigns.sites import Site, foreign_pages, sites

GOAL_RIGHT, GOAL_WRONG = 0.85, 0.03


@dataclass(frozen=True)
class Result:
    """verdict: "right", "none" or "wrong". why: what is wrong, or why there is no proposal. sure: whether `mend = "auto"` would apply it."""

    site: str
    seed: int
    operations: tuple[str, ...]
    verdict: str
    why: str
    changes: str
    seconds: float
    sure: bool


def _try(site: Site, seed: int) -> Result:
    made = site.redesigned(seed)
    started = time.thread_time()
    mending = mend(site.spider, documents(made), site.known)
    seconds = (time.thread_time() - started) / len(made.pages)
    why = what_is_wrong(merged(site.table, mending.changes), made) if mending.changes else mending.reason
    verdict = "none" if not mending.changes else "wrong" if why else "right"
    return Result(site.name, seed, tuple(made.operations), verdict, why, json.dumps(mending.changes, ensure_ascii=False), seconds, mending.is_sure)


def _refuse(site: Site, other: Site) -> list[Result]:
    found = []
    for name, pages in foreign_pages(site, other).items():
        started = time.thread_time()
        mending = mend(site.spider, [document(page, site.url) for page in pages], site.known)
        found.append(Result(site.name, 0, (name,), "wrong" if mending.changes else "none", mending.reason,
                            json.dumps(mending.changes, ensure_ascii=False), time.thread_time() - started, mending.is_sure))
    return found


def main() -> int:
    """Print the figures. Return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mend", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", action="append", help="only this site (may be repeated)")
    parser.add_argument("--seeds", type=int, default=30, help="redesigns of each page")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--show", action="store_true", help="print each redesign for which the proposal is missing or wrong")
    options = parser.parse_args()
    every = sites()
    chosen = [site for site in every if not options.site or site.name in options.site]
    with ProcessPoolExecutor(options.jobs) as processes:
        waiting = [processes.submit(_try, site, seed) for site in chosen for seed in range(options.first, options.first + options.seeds)]
        foreign = [processes.submit(_refuse, site, every[(every.index(site) + len(every) // 2) % len(every)]) for site in chosen]
        results = [one.result() for one in waiting]
        refused = [result for one in foreign for result in one.result()]
    if options.show:
        for result in [*results, *refused]:
            if result.verdict == "wrong" or (result.verdict == "none" and result.seconds and result in results):
                print(f"{result.site} {result.seed} {', '.join(result.operations)}\n  {result.verdict}: {result.why}\n  {result.changes[:600]}")
    _print("page", results)
    _print("operation", results)
    right, wrong = (sum(result.verdict == verdict for result in results) / len(results) for verdict in ("right", "wrong"))
    sure = Counter(result.verdict for result in [*results, *refused] if result.sure)
    told = sum(result.verdict == "wrong" for result in refused)
    print(f"right {right:.1%} (goal {GOAL_RIGHT:.0%}), wrong {wrong:.1%} (goal under {GOAL_WRONG:.0%}), no proposal {1 - right - wrong:.1%}, "
          f"of {len(results)} redesigns")
    print(f"pages without the items: {told} of {len(refused)} with a proposal" + "".join(
        f"\n  {result.site}: {result.operations[0]}: {result.changes[:300]}" for result in refused if result.verdict == "wrong"))
    print(f"sure enough for mend = \"auto\": {sure['right']} right, {sure['wrong']} wrong")
    seconds = sorted(result.seconds for result in results)
    print(f"CPU seconds a page: median {seconds[len(seconds) // 2]:.2f}, largest {seconds[-1]:.2f}")
    return int(right < GOAL_RIGHT or wrong >= GOAL_WRONG or told > 0)


def _print(title: str, results: list[Result]) -> None:
    """Print the verdicts by page or by operation, the worst first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, float] = defaultdict(float)
    for result in results:
        for name in [result.site] if title == "page" else result.operations:
            counts[name][result.verdict] += 1
            seconds[name] = max(seconds[name], result.seconds)
    print(f"{title:28}{'right':>7}{'none':>7}{'wrong':>7}{'slowest, s':>12}")
    for name in sorted(counts, key=lambda name: counts[name]["right"] / counts[name].total()):
        count = counts[name]
        print(f"{name:28}{count['right']:>7}{count['none']:>7}{count['wrong']:>7}{seconds[name]:>12.2f}")


if __name__ == "__main__":
    sys.exit(main())
