"""Find the lists of a page: groups of similar elements.

Every short selector that matches several elements names a candidate group (`article.product`, `#hits > li`, `table.files tr`), so
each group that wins can be written as a rule `each`. (Records as repeated regions of the tree: Liu et al., "Mining data records in
web pages", KDD 2003.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise

from pipeline.crawl.suggest.lists.slots import Record, Slot, likeness, slots_of
from pipeline.crawl.suggest.lists.tree import Element, Tree
from pipeline.crawl.suggest.selectors import is_generated, is_utility, names_of, quoted

_SAMPLE = 24
"""Number of elements of a group that are compared."""
_MIN_SIZE = 2
_RECORD_TAGS = frozenset(["article", "section", "div", "li", "tr", "a", "p", "dt", "dl", "td", "tbody", "table", "h2", "h3", "h4", "h5",
                          "figure", "details", "blockquote", "span", "ul", "ol", "pre", "fieldset", "form", "header", "main", "h1", "dd",
                          "center", "font", "b", "label", "address", "aside"])
_ANCHOR_TAGS = frozenset(["main", "article", "ul", "ol", "table", "dl", "pre", "tbody", "section"])

_MAX_BESIDE = 6
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_IDENTIFIER = re.compile(r"[A-Za-z][\w-]*\Z")
_STATE = re.compile(r"(?:^|[-_])(?:new|open|closed|done|read|unread|status|prio\w*|odd|even|normal|public|private|sale|instock|publish|sticky|"
                    r"active|default|standard|visible|animate|p\d)(?:$|[-_])", re.IGNORECASE)
_RECORD = re.compile(r"(?:item|row|card|post|product|result|entry|thread|topic|listing|article|story|job|record|teaser|tile|hit|issue|ticket|"
                     r"bug|repo|package|event|book|message|comment)$", re.IGNORECASE)
_VAGUE = frozenset(["a", "li", "tr", "div", "p", "span", "td", "ul", "b", "font"])


@dataclass
class Group:
    """A group of elements that may be the records of a list.

    selector: the rule `each` that matches them; score: how much the group looks like the main list of the page, 0 to 1; records: a
    sample of the records, with their slots; sure: how sure it is that the elements are records, 0 to 1.
    """

    selector: str
    elements: list[Element]
    score: float = 0.0
    sure: float = 0.0
    records: list[Record] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)


def sample(elements: Sequence[Element], most: int = _SAMPLE) -> list[Element]:
    """Return evenly spaced elements, at most `most`."""
    step = max(1.0, len(elements) / most)
    return [elements[int(place * step)] for place in range(min(most, len(elements)))]


def candidates(tree: Tree) -> list[Group]:
    """Return a group for each short selector that matches at least two elements; of selectors for the same elements, the simplest."""
    named: dict[str, list[Element]] = {}
    anchors: dict[int, list[str]] = {}
    for element in tree.elements:
        if element.tag in _RECORD_TAGS or "-" in element.tag:
            for selector in dict.fromkeys(_each_selectors(element, anchors)):
                named.setdefault(selector, []).append(element)
    named |= _rows_with_links(named)
    same: dict[tuple[int, ...], str] = {}
    for selector, elements in named.items():
        if len(elements) < _MIN_SIZE:
            continue
        place = (len(elements), *(element.at for element in elements))
        known = same.get(place)
        if known is None or cost(selector) < cost(known):
            same[place] = selector
    return [Group(selector, [tree.elements[at] for at in place[1:]]) for place, selector in same.items()]


def _rows_with_links(named: dict[str, list[Element]]) -> dict[str, list[Element]]:
    """Return groups of the rows with a link in a cell, where other rows of the table have none: a day above the changes of that day."""
    found = {}
    for selector, elements in named.items():
        if elements[0].tag == "tr" and 0 < sum(element.links > 0 for element in elements) < len(elements):
            found[f"{selector}:has(td a[href])"] = [element for element in elements if _has_link_in_cell(element)]
    return found


def _has_link_in_cell(row: Element) -> bool:
    return row.links > 0 and row.node.css_first("td a[href]") is not None


def cost(selector: str) -> float:
    """Return how unwelcome a selector is: its length, and more for positions, bare tags and classes of the look."""
    steps = re.split(r"\s*>\s*|\s+", selector)
    bare = (not re.search(r"[.#\[]", selector)) + (selector in _VAGUE)
    look = sum(is_utility(name) for name in re.findall(r"\.([\w-]+)", selector))
    last = re.findall(r"\.([\w-]+)", steps[-1])
    states = 25 * sum(_STATE.search(name) is not None for name in last) - 6 * any(_RECORD.search(name) for name in last)
    return 12 * len(steps) + len(selector) / 4 + 14 * bare + 25 * look + 3 * selector.count("[") + 20 * selector.count("[class") + states \
        + 8 * (steps[-1] in ("a", "span")) + 10 * (selector.count(":has(") + selector.count(":not("))


def _each_selectors(element: Element, anchors: dict[int, list[str]]) -> Iterator[str]:
    """Yield short selectors that match an element, and others like it.

    anchors: the selectors of elements that were needed before, by the position of the element.
    """
    tag = element.tag

    def anchors_of(above: Element) -> list[str]:
        if above.at not in anchors:
            anchors[above.at] = _anchors(above)
        return anchors[above.at]

    if element.attributes.get("itemtype"):
        yield f"[itemtype={quoted(element.attributes['itemtype'] or '')}]"
    own = [name for name in names_of(element.node)[:-1] if not name.startswith("[itemprop")]
    yield from (f"{tag}{name}" if name.startswith((".", "[class")) else name for name in own)
    yield from (f"{tag}.{name}" for name in element.classes if is_utility(name) and not is_generated(name) and _IDENTIFIER.match(name))
    yield tag
    parent = element.parent
    if parent is None:
        return
    around = [parent, *islice(parent.ancestors(), 4)]
    yield from (f"{anchor} > {tag}" for anchor in anchors_of(parent))
    yield from (f"{anchor} {tag}" for above in around for anchor in anchors_of(above))
    steps = tag
    for above, further in pairwise(around[:3]):
        steps = f"{above.tag} > {steps}"
        yield from (f"{anchor} > {steps}" for anchor in anchors_of(further)[:2])


def _anchors(element: Element) -> list[str]:
    found = []
    own_id = element.attributes.get("id") or ""
    if own_id and not is_generated(own_id) and _IDENTIFIER.match(own_id):
        found.append(f"#{own_id}")
    found += [f"{element.tag}{name}" if name.startswith((".", "[class")) else name
              for name in names_of(element.node)[:-1] if not name.startswith("[itemprop")][:3]
    if element.tag in _ANCHOR_TAGS or not found:
        found.append(element.tag)
    return found


def records_of(heads: Sequence[Element], members: frozenset[int], tree: Tree) -> list[Record]:
    """Return the records that begin with the given elements.

    members: positions of all elements of the group. Where elements that are unlike the group stand between its elements, in the
    same way each time (<dd> after <dt>, a second row, a paragraph after a heading), they belong to the record before them.
    """
    after = [_beside(head, members, tree) for head in heads]
    firsts = Counter(beside[0].tag for beside in after if beside)
    parents = {head.parent.at for head in heads if head.parent is not None}
    is_flat = firsts and firsts.most_common(1)[0][1] >= 0.7 * len(heads) and len(parents) <= max(1, len(heads) // 3) and not any(
        _is_alike(head, beside[0], tree) for head, beside in zip(heads, after, strict=True) if beside)
    return [Record(head, tuple(beside) if is_flat else (), members - {head.at}) for head, beside in zip(heads, after, strict=True)]


def _beside(head: Element, members: frozenset[int], tree: Tree) -> list[Element]:
    """Return the elements between a head and the next one, at most _MAX_BESIDE."""
    found = []
    for element in tree.after(head)[:_MAX_BESIDE]:
        if element.at in members or (head.tag in _HEADINGS and element.tag in _HEADINGS and element.tag <= head.tag):
            break
        found.append(element)
    while found and not found[-1].length:
        found.pop()
    return found if any(element.length for element in found) else []


def _is_alike(one: Element, other: Element, tree: Tree) -> bool:
    if one.tag != other.tag:
        return False
    slots = slots_of([Record(one), Record(other)], tree)
    return likeness(slots, 2) > 0.6 or not slots
