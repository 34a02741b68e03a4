"""Derive new rules for links that no longer match.

`follow`, `download` and `details.link`, from the URLs that were fetched before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.crawl.extract import ItemRules, LinkRules, RuleFailedError
from pipeline.crawl.mend.mending import written
from pipeline.crawl.mend.names import selectors_within
from pipeline.crawl.mend.page_tree import Element, PageTree
from pipeline.crawl.mend.time_limit import TimeLimit
from pipeline.crawl.suggest.lists.tree import Tree
from pipeline.crawl.suggest.next_page import next_page
from pipeline.settings import SelectorTable, SpiderTable, selector

_MIN_PRECISION = {"follow": 0.9, "download": 0.5}
"""The share of the links of a new rule that must lead to known URLs. A list may have many new files, but hardly any new page."""
_MAX_LINKS = 3000
_TRIED = 40


def mend_links(table: SpiderTable, trees: Sequence[PageTree], known: Mapping[str, Collection[str]], limit: TimeLimit) -> tuple[
        dict[str, Any], list[str]]:
    """Return the changed keys `follow` and `download`, and notes about rules for which no new rule was found.

    table: the spider, with the proposed rules for items. known: for each of these keys the URLs that were fetched before; start URLs and
    details pages among them say nothing about `follow`. There is no new rule if no page has a link to one of the others any more, since
    the list may have become shorter, and no note about a rule that never led to a page.
    """
    changes: dict[str, Any] = {}
    notes: list[str] = []
    for key, rules in (("follow", table.follow), ("download", table.download)):
        found = [_links(rule, trees, for_files=key == "download") for rule in rules]
        if not rules or all(found):
            continue
        explained = {url for links in found for url in links} | {tree.document.url for tree in trees}
        before = set(known.get(key, ())) - ({start.url for start in table.start} | _details_links(table, trees) if key == "follow" else set())
        is_lost = bool(known.get(key)) and not any(_linking(tree, before - {tree.document.url}) for tree in trees)
        new: list[Any] = []
        for rule, links in zip(rules, found, strict=True):
            wanted = before - explained
            better = None
            if not links and not is_lost:
                better = _rule_for(trees, wanted, limit, _MIN_PRECISION[key]) or (_next_page(trees, before) if key == "follow" else None)
            new.append(written(rule) if better is None else better)
            if better is not None:
                explained |= _links(_table(better), trees, for_files=key == "download")
            elif not links and wanted:
                lost = "the items of further pages" if key == "follow" else "the files"
                notes.append(f"`{key}` {_shown(rule)} finds no link any more, and no rule was found in its place: {lost} will be missing")
        if new != [written(rule) for rule in rules]:
            changes[key] = new
    return changes, notes


def _details_links(table: SpiderTable, trees: Sequence[PageTree]) -> set[str]:
    """Return the URLs of the details pages that the items of the pages link to."""
    if table.items is None or table.items.details is None:
        return set()
    rules = ItemRules(table.items.fields, table.items.each, table.items.details.link)
    return {link for tree in trees for link in rules.extract(tree.document).links if link}


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


def _rule_for(trees: Sequence[PageTree], wanted: Collection[str], limit: TimeLimit, precision: float) -> str | None:
    """Return the selector whose links are mostly wanted ones, and as many of them as possible; None if there is none.

    precision: the share of the links that must be wanted. Links to the pages themselves do not count.
    """
    here = {tree.document.url for tree in trees}
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
        found = _links(SelectorTable(css=css), trees, for_files=True) - here
        hits = len(found & set(wanted))
        if hits and hits >= precision * len(found):
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
