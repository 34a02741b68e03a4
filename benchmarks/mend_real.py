"""Rules proposed for real redesigns (tests/data/list_pages/redesigned).

Each is the same list in another theme, skin, style or program.

The spider has the rules that `pipeline suggest` proposes for the page as it was, with all fields and with title and url only, and has
stored the items of that page. It is right if the rules, after the proposal, find what the new page lists; wrong if a proposal finds
something else; none if there is no proposal.

    python -m benchmarks.mend_real
    python -m benchmarks.mend_real --show    # and the proposals that are missing or wrong
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from pipeline.crawl.extract import ItemRules
from pipeline.crawl.mend import mend, merged
from pipeline.crawl.suggest import suggest
from pipeline.settings import SpiderTable
from tests.list_pages import FOLDER, ListPage, judge, list_pages

GOAL_RIGHT, GOAL_WRONG = 0.85, 0.03


def verdict(before: ListPage, after: ListPage, *, all_fields: bool, show: bool) -> str | None:
    """Return "right", "wrong" or "none"; None if no rules are known for the page as it was."""
    document = before.document()
    table = next((proposal.table for proposal in suggest(document) if "items" in proposal.table and judge(proposal.table, before).right), None)
    if table is None:
        print(f"{after.name:36} skipped: no proposal is right for the page as it was")
        return None
    if not all_fields:
        fields = {name: rule for name, rule in table["items"]["fields"].items() if name in ("title", "url")}
        table = table | {"items": {"each": table["items"]["each"], "key": ["url" if "url" in fields else "title"], "fields": fields}}
    spider = SpiderTable.model_validate(table)
    assert spider.items is not None
    known = ItemRules(spider.items.fields, spider.items.each).extract(document).items
    started = time.perf_counter()
    try:
        mending = mend(spider, [after.document()], known)
    except Exception as error:  # noqa: BLE001  one failure must not hide the verdicts on the other pages
        print(f"{after.name:36} wrong  mend raised {type(error).__name__}: {str(error).splitlines()[0]}")
        return "wrong"
    took = time.perf_counter() - started
    judged = judge(merged(table, mending.changes) if mending.changes else table, after)
    found = "right" if judged.right else "wrong" if mending.changes else "none"
    how = "" if mending.changes else "the old rules still work" if judged.right else mending.reason
    print(f"{after.name:36} {found:6} {took:5.2f} s  {after.program} {after.version}  {how}")
    if show and found != "right":
        print(f"    {judged.why}\n    was {json.dumps(table['items'], ensure_ascii=False)[:300]}\n    now {json.dumps(mending.changes, ensure_ascii=False)[:500]}")
    return found


def main() -> int:
    """Print the verdict on each page and the shares. Return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mend_real", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the proposals that are missing or wrong")
    options = parser.parse_args()
    before = {page.name: page for page in list_pages()}
    missed = False
    for name, all_fields in (("all fields", True), ("title and url", False)):
        found = [verdict(before[after.name], after, all_fields=all_fields, show=options.show) for after in list_pages(FOLDER / "redesigned")]
        judged = [one for one in found if one is not None]
        right, wrong = (judged.count(which) / len(judged) for which in ("right", "wrong"))
        print(f"{name}: right {right:.0%} (goal {GOAL_RIGHT:.0%}), wrong {wrong:.0%} (goal under {GOAL_WRONG:.0%}), "
              f"of {len(judged)} redesigned pages")
        missed = missed or right < GOAL_RIGHT or wrong >= GOAL_WRONG
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
