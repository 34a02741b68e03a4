"""Derive new rules for links that no longer match: `follow`, `download` and `details.link`, from the URLs that were fetched before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.crawl.extract import LinkRules, RuleFailedError
from pipeline.crawl.mend.mending import written
from pipeline.crawl.mend.names import selectors_within
from pipeline.crawl.mend.page_tree import Element, PageTree
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.crawl.suggest.lists.tree import Tree
from pipeline.crawl.suggest.next_page import next_page
from pipeline.settings import SelectorTable, SpiderTable, selector

_MIN_PRECISION = 0.5
_MAX_LINKS = 3000
_TRIED = 40


def mend_links(table: SpiderTable, trees: Sequence[PageTree], known: Mapping[str, Collection[str]], limit: TimeLimit) -> tuple[
        dict[str, Any], list[str]]:
    """Return the changed keys `follow` and `download`, and notes about rules for which no new rule was found.

    known: for each of these keys the URLs that its rules led to before. There is no note about a rule that never led to a page.
    """
    changes: dict[str, Any] = {}
    notes: list[str] = []
    for key, rules in (("follow", table.follow), ("download", table.download)):
        found = [_links(rule, trees, for_files=key == "download") for rule in rules]
        if not rules or all(found):
            continue
        explained = {url for links in found for url in links} | {tree.document.url for tree in trees}
        starts = {start.url for start in table.start}
        new: list[Any] = []
        for rule, links in zip(rules, found, strict=True):
            wanted = set(known.get(key, ())) - explained
            better = None if links else _rule_for(trees, wanted, limit) or (_next_page(trees, wanted) if key == "follow" else None)
            new.append(written(rule) if better is None else better)
            if better is not None:
                explained |= _links(_table(better), trees, for_files=key == "download")
            elif not links and wanted - starts:
                lost = "the items of further pages" if key == "follow" else "the files"
                notes.append(f"`{key}` {_shown(rule)} finds no link any more, and no rule was found in its place: {lost} will be missing")
        if new != [written(rule) for rule in rules]:
            changes[key] = new
    return changes, notes


def _table(rule: str) -> SelectorTable:
    """Return a rule that is written as a text, which is CSS or XPath."""
    return SelectorTable.model_validate(selector(rule))


def _shown(rule: SelectorTable) -> str:
    said = written(rule)
    return repr(said if isinstance(said, str) else said.get("css") or said.get("xpath") or said)


def _links(rule: SelectorTable, trees: Sequence[PageTree], *, for_files: bool) -> set[str]:
    rules = LinkRules([rule], for_files=for_files)
    found: set[str] = set()
    for tree in trees:
        try:
            found.update(rules.links(tree.document))
        except RuleFailedError:
            continue
    return found


def _rule_for(trees: Sequence[PageTree], wanted: Collection[str], limit: TimeLimit) -> str | None:
    """Return the selector whose links are mostly wanted ones, and as many of them as possible; None if there is none."""
    votes: Counter[str] = Counter()
    costs: dict[str, float] = {}
    for tree in trees:
        for element in _linking(tree, wanted):
            limit.check()
            for name in selectors_within(tree, tree.elements[0], element)[:25]:
                if ":nth-of-type" not in name.css:
                    votes[name.css] += 1
                    costs[name.css] = min(name.cost, costs.get(name.css, name.cost))
    best: tuple[float, float, str] | None = None
    for css, _ in sorted(votes.items(), key=lambda entry: (-entry[1], costs[entry[0]]))[:_TRIED]:
        limit.check()
        found = _links(SelectorTable(css=css), trees, for_files=True)
        hits = len(found & set(wanted))
        if hits and hits >= _MIN_PRECISION * len(found):
            score = (-hits * hits / len(found), costs[css], css)
            best = score if best is None else min(best, score)
    return best[2] if best is not None else None


def _linking(tree: PageTree, wanted: Collection[str]) -> list[Element]:
    """Return the elements with a link to one of the wanted URLs."""
    found = []
    for element in tree.elements:
        link = next((value for name in ("href", "src", "data-href", "data-src") if (value := element.attributes.get(name))), "")
        if link and tree.document.absolute(link) in wanted:
            found.append(element)
            if len(found) >= _MAX_LINKS:
                break
    return found


def _next_page(trees: Sequence[PageTree], wanted: Collection[str]) -> str | None:
    """Return a rule for the link to the next page of a list; None if there is none, or if it leads to other pages than before."""
    for tree in trees:
        keys, _ = next_page(Tree(tree.document.lexbor), tree.document)
        for rule in keys.get("follow", ()):
            found = _links(_table(rule), trees, for_files=False)
            if found and (not wanted or found & set(wanted)):
                return str(rule)
    return None
