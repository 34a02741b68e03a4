"""Proposals for list pages of real programs (tests/data/list_pages).

Goals: the first is right for 80 %, one of three for 95 %, under 3 s.

A proposal is right if the engine finds with it the rows of the list (95 % of them, at most 5 % more) and their title and URL (90 % of the
rows). A proposal to read the page's feed instead is not counted: first means the first one that reads the page. Where a page has prices
and a next page, the first right proposal should have them too.

    python -m benchmarks.suggest
    python -m benchmarks.suggest --set development --show    # and what is wrong with the proposals
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass

from pipeline.crawl.suggest import suggest
from tests.list_pages import ListPage, has_prices, leads_on, list_pages, verdicts

GOAL_FIRST, GOAL_ANY, GOAL_S = 0.8, 0.95, 3.0
REPEATS = 3
SETS = ("development", "held-out")


@dataclass(frozen=True)
class Result:
    """first, one: whether the first proposal is right, and whether one of three is; seconds: the median time.

    leads_on, prices: whether the first right one has the link to the next page and the prices; None if the page has none.
    """

    first: bool
    one: bool
    seconds: float
    leads_on: bool | None
    prices: bool | None


def measure(page: ListPage, *, show: bool) -> Result:
    seconds = []
    for _ in range(REPEATS):
        document = page.document()
        started = time.perf_counter()
        proposals = suggest(document)
        seconds.append(time.perf_counter() - started)
    reading = [proposal for proposal in proposals if "items" in proposal.table]
    found = verdicts(reading, page)
    first, one = bool(found) and found[0].right, any(verdict.right for verdict in found)
    took = statistics.median(seconds)
    parts = "".join(letter if bool(found) and getattr(found[0], part) else "-" for letter, part in (("e", "each"), ("t", "title"), ("u", "url")))
    print(f"{page.name:36.36} {len(page.truth):>4} rows  first {'right' if first else 'wrong':5} {parts}  "
          f"of three {'right' if one else 'wrong':5}  {took:5.2f} s  {', '.join(proposal.kind for proposal in proposals)}")
    if show and not first:
        for number, proposal in enumerate(reading):
            print(f"    {found[number].why or 'right'}: {json.dumps(proposal.table['items'], ensure_ascii=False)[:400]}")
    right = next((proposal.table for proposal, verdict in zip(reading, found, strict=True) if verdict.right), None)
    return Result(first, one, took, leads_on(right, page) if page.next and right else None,
                  has_prices(right, page) if "price" in page.truth[0] and right else None)


def main() -> int:
    """Print the verdict on each page and the shares. Return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suggest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, help="only this set of pages")
    parser.add_argument("--page", action="append", help="only this page (may be repeated)")
    parser.add_argument("--show", action="store_true", help="print the proposals for each page whose first proposal is wrong")
    options = parser.parse_args()
    missed = False
    for name in [options.set] if options.set else SETS:
        pages = [page for page in list_pages() if page.set == name and (not options.page or page.name in options.page)]
        if not pages:
            continue
        results = [measure(page, show=options.show) for page in pages]
        first, one = (sum(getattr(result, at) for result in results) / len(results) for at in ("first", "one"))
        slowest = max(result.seconds for result in results)
        more = [f"{name} {sum(known)} of {len(known)}" for name, at in (("next page", "leads_on"), ("prices", "prices"))
                if (known := [value for result in results if (value := getattr(result, at)) is not None])]
        print(f"{name}: {len(pages)} pages of {len({page.program for page in pages})} programs: first right {first:.0%} (goal {GOAL_FIRST:.0%}), "
              f"one of three right {one:.0%} (goal {GOAL_ANY:.0%}), slowest {slowest:.2f} s (goal under {GOAL_S:.0f} s){''.join(f'; {text}' for text in more)}")
        missed = missed or first < GOAL_FIRST or one < GOAL_ANY or slowest >= GOAL_S
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
