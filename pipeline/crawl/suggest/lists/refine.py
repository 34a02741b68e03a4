"""Keep the odd rows of a group out of the items.

Headings, advertisements, "load more", the parent directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from pipeline.crawl.suggest.lists.slots import Record, slots_of
from pipeline.crawl.suggest.lists.structure import Group, records_of, sample
from pipeline.crawl.suggest.lists.titles import title_slot
from pipeline.crawl.suggest.lists.tree import Element, Tree
from pipeline.crawl.suggest.selectors import is_generated, matches, quoted, semantic_classes

_MOST = 400
_MOST_TRIED, _FEWEST_TRIED = 150, 25
_WORK = 400_000
"""Elements that are searched for all selectors of one group together, about."""
_PARENT = re.compile(r"(?:\.\./?|\.\.|parent directory|\[?to parent directory\]?|up one level|parent folder)\Z", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z][\w-]*\Z")


def refined(group: Group, tree: Tree) -> Group:
    """Return a new group without the odd elements, with a selector that leaves them out; the same group if there is none."""
    good = _regular(group, tree)
    if len(good) == len(group.elements) or len(good) < 2:
        return group
    chosen = _narrowed(group, good, tree)
    if chosen is None:
        return group
    selector, elements = chosen
    return Group(selector, elements)


def _regular(group: Group, tree: Tree) -> list[Element]:
    """Return the elements that have the title of the records and at least half of their usual slots."""
    title = title_slot(group)
    if title is None:
        return group.elements
    count = len(group.records)
    usual = {key for key, slot in group.slots.items() if slot.presence(count) >= 0.6}
    elements = group.elements[:_MOST]
    members = frozenset(element.at for element in group.elements)
    records = [Record(element, (), members - {element.at}) for element in elements] if not group.records[0].after else records_of(
        elements, members, tree)
    slots = slots_of(records, tree)
    odd = set()
    for number, record in enumerate(records):
        own = {key for key, slot in slots.items() if number in slot.found}
        text = record.head.whole_text if record.head.length < 60 else ""
        if title.key.partition(" (")[0] not in own or len(own & usual) < 0.6 * len(usual) or _is_parent_directory(record.head, text):
            odd.add(record.head.at)
    return [element for element in group.elements if element.at not in odd]


def _is_parent_directory(element: Element, text: str) -> bool:
    if _PARENT.match(text):
        return True
    first = element.node.css_first("a[href]")
    return first is not None and _PARENT.match(" ".join(first.text(deep=True).split())) is not None


def _narrowed(group: Group, good: Sequence[Element], tree: Tree) -> tuple[str, list[Element]] | None:
    """Return a selector that matches the good elements of a group and no other ones, and what it matches."""
    wanted = {element.node.mem_id for element in good}
    odd = [element for element in group.elements if element.node.mem_id not in wanted]
    filters = list(dict.fromkeys(_filters(group, good, odd)))
    root = tree.elements[0].node
    best: tuple[int, str, list[Element]] | None = None
    tried = max(_FEWEST_TRIED, min(_MOST_TRIED, _WORK // len(tree.elements)))
    for chosen in [*((one,) for one in filters), *combinations(filters[:12], 2), *combinations(filters[:6], 3)][:tried]:
        selector = group.selector + "".join(chosen)
        found = matches(root, selector)
        ids = {node.mem_id for node in found}
        if ids == wanted:
            return selector, list(good)
        wrong = len(ids ^ wanted)
        if len(ids) >= 2 and wrong < len(odd) and wanted <= ids and (best is None or wrong < best[0]):
            best = wrong, selector, [tree.by_node[one] for one in (node.mem_id for node in found) if one in tree.by_node]
    return (best[1], best[2]) if best is not None else None


def _filters(group: Group, good: Sequence[Element], odd: Sequence[Element]) -> Iterator[str]:
    """Yield what may tell the good elements from the odd ones, the most stable first."""
    few = sample(good, 12)
    yield from (f".{name}" for name in _shared([semantic_classes(one.classes) for one in few]))
    if good[0].tag == "tr":
        yield from (":has(td)", ":not(:has(th))")
    for slot in group.slots.values():
        if slot.key and not slot.key.startswith("+") and slot.presence(len(group.records)) >= 0.6:
            element = next(iter(slot.firsts()))[1]
            yield from (f":has(.{name})" for name in semantic_classes(element.classes)[:2])
            yield f":has({element.tag}[href])" if element.tag == "a" else f":has({element.tag})"
    yield from (f"[{name}]" for name in _shared([list(one.attributes) for one in few])
                if _NAME.match(name) and name not in ("class", "style", "id"))
    for one in odd[:8]:
        yield from (f":not(.{name})" for name in one.classes if _NAME.match(name) and not is_generated(name))
    for one in odd[:8]:
        if _is_around_list(one):
            yield from _not_like(one)
    yield from (":not(:has([colspan]))", ":not(:first-child)", ":not(:last-child)")
    yield from (f":has({tag})" for tag in ("h2", "h3", "h4", "p", "img", "time", "a[href]"))


def _is_around_list(element: Element) -> bool:
    """Return whether an element leads to the parent directory, to another order of the list, or nowhere."""
    first = element.node if element.tag == "a" else element.node.css_first("a[href]")
    href = (first.attributes.get("href") or "") if first is not None else ""
    return href[:1] in ("", "?", "#") or href in ("/", "..", "../", "./", "./..", "./../") or (
        element.length < 60 and _is_parent_directory(element, element.whole_text))


def _not_like(odd: Element) -> Iterator[str]:
    """Yield filters against one odd element by its link."""
    if odd.tag == "a":
        href = odd.attributes.get("href") or ""
        yield "[href]" if not href else f":not([href^='{href[0]}'])" if href[0] in "?#" else f":not([href={quoted(href)}])"
        return
    for link in odd.node.css("a[href]")[:3]:
        yield f":not(:has(a[href={quoted(link.attributes.get('href') or '')}]))"


def _shared(names: Sequence[Sequence[str]]) -> list[str]:
    """Return the names that are in all lists."""
    return [name for name in names[0] if all(name in other for other in names)] if names else []
