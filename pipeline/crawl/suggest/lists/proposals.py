"""Proposals from the repeated structure of a page.

`each`, the fields, the key, the next page, the files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

from pipeline.crawl.extract import Document
from pipeline.crawl.suggest.lists.fields import fields_of, file_endings
from pipeline.crawl.suggest.lists.refine import refined
from pipeline.crawl.suggest.lists.scoring import Page, groups
from pipeline.crawl.suggest.lists.structure import Group
from pipeline.crawl.suggest.lists.tree import Element, Tree
from pipeline.crawl.suggest.next_page import next_page
from pipeline.crawl.suggest.proposal import SHOWN_ROWS, Proposal, Tested, tested
from pipeline.text import counted

_TRIED = 24
_TRIED_IN_LARGE = 5
_LARGE = 6_000
_PROPOSED = 3
_NEARLY = 0.92


def html_proposals(document: Document) -> list[Proposal]:
    """Return proposals from the lists of an HTML page, best first."""
    if not document.text.strip() or document.json is not None:
        return []
    tree = Tree(document.lexbor)
    page = Page(tree)
    further, why = next_page(tree, document)
    found: list[Proposal] = []
    used: list[Group] = []
    for group in _shortlist(page):
        if any(_is_same_list(group, other) for other in used):
            continue
        fields = fields_of(group)
        result = tested(group.selector, fields.rules, document)
        if result is None and any("xpath" in str(rule) for rule in fields.rules.values()):
            result = tested(group.selector, {name: rule for name, rule in fields.rules.items() if "following-sibling" not in str(rule)}, document)
        if result is None or len(result.rows) < 2:
            continue
        used.append(group)
        found.append(_proposal(group, result, document, further=further, why=why))
        if len(found) == _PROPOSED:
            break
    return sorted(found, key=lambda proposal: -proposal.confidence)


def _shortlist(page: Page) -> list[Group]:
    """Return the best groups without their odd elements, best first."""
    large = len(page.tree.elements) > _LARGE
    ranked = groups(page)[:_TRIED_IN_LARGE if large else _TRIED]
    chosen: list[Group] = []
    for candidate in ranked:
        group = _widest(_richest(candidate, ranked), ranked)
        if group not in chosen:
            chosen.append(group)
    found = []
    for group in chosen:
        narrowed = refined(group, page.tree)
        if narrowed is not group:
            narrowed.score = page.score(narrowed)
        found.append(narrowed)
    return sorted(found, key=lambda group: -group.score)


def _is_same_list(one: Group, other: Group) -> bool:
    """Return whether two groups are the same records, seen at another level of the tree."""
    if not 0.8 <= len(one.elements) / len(other.elements) <= 1.25:
        return False
    starts = [element.at for element in other.elements]
    few = one.elements[:60]
    return sum(_touches(element, other.elements, starts) for element in few) >= 0.7 * len(few)


def _touches(element: Element, others: list[Element], starts: list[int]) -> bool:
    """Return whether an element is one of the others, is in one of them, or contains one; starts: the positions of the others."""
    place = bisect_right(starts, element.at)
    before = others[place - 1] if place else None
    return (before is not None and element.at <= before.at + before.size) or (
        place < len(others) and others[place].at <= element.at + element.size)


def _richest(candidate: Group, candidates: list[Group]) -> Group:
    """Return the group for the same records that has the most fields, if its score is nearly as good."""
    same = [group for group in candidates if group.score >= _NEARLY * candidate.score and len(group.elements) == len(candidate.elements)
            and _is_same_list(group, candidate)]
    return max(same, key=lambda group: sum(slot.presence(len(group.records)) >= 0.5 for slot in group.slots.values()), default=candidate)


def _widest(candidate: Group, candidates: list[Group]) -> Group:
    """Return the group with further elements of the same shape in the same list, if its score is nearly as good: folders beside files."""
    shapes, ids = {_shape(element) for element in candidate.elements}, {element.at for element in candidate.elements}
    best = candidate
    for group in candidates:
        if group.score < _NEARLY * candidate.score or not len(best.elements) < len(group.elements) <= 2 * len(candidate.elements):
            continue
        more = [element for element in group.elements if element.at not in ids]
        if len(more) == len(group.elements) - len(ids) and sum(_shape(element) in shapes for element in more) >= max(2, 0.6 * len(more)):
            best = group
    return best


def _shape(element: Element) -> tuple[object, ...]:
    """Return the list that an element is in, with the tags between, and the tags of its children."""
    above = element.parent
    if element.tag == "a" and above is not None and above.parent is not None and len(above.children) == 1:
        return above.parent.at, above.tag, element.tag, *(child.tag for child in element.children)
    return above.at if above is not None else -1, element.tag, *(child.tag for child in element.children)


def _proposal(group: Group, result: Tested, document: Document, *, further: dict[str, Any], why: str) -> Proposal:
    table: dict[str, Any] = {"start": [document.url], **further}
    endings = file_endings(group)
    if endings:
        table["download"] = [f"{group.selector} a[href$='{ending}']" if group.elements[0].tag != "a" else f"{group.selector}[href$='{ending}']"
                             for ending in endings]
    table["items"] = result.items
    count = len(result.rows)
    reasons = [f"{counted(count, 'similar element')}: {group.selector}"]
    named = [name for name, share in result.filled.items() if share > 0.95]
    reasons += [f"all have {', '.join(named[:6])}"] if named else []
    reasons += [f"key: {', '.join(result.items['key'])} differs in every row"] if "key" in result.items else []
    reasons += [why] if why else []
    notes = [*result.notes, *_notes(result)]
    return Proposal("html", table, result.rows[:SHOWN_ROWS], count, _confidence(group, result), reasons, notes)


def _notes(result: Tested) -> Iterable[str]:
    if "key" not in result.items:
        yield "no field tells all rows apart; choose a key"
    currencies = {row[name]["currency"] for row in result.rows for name in row if isinstance(row[name], dict) and "currency" in row[name]}
    if len(currencies) > 1:
        yield f"the prices have several currencies: {', '.join(sorted(map(str, currencies)))}"


def _confidence(group: Group, result: Tested) -> float:
    """Return how sure the proposal is: the score of the group, less for what the rows lack."""
    sure = 0.25 + 0.75 * group.sure
    filled = result.filled
    if filled.get("url", 0) < 0.95:
        sure *= 0.85
    if filled.get("title", 0) < 0.95:
        sure *= 0.8
    if "key" not in result.items:
        sure *= 0.85
    if len(result.rows) < 4:
        sure *= 0.8
    return round(min(sure, 0.97), 2)
