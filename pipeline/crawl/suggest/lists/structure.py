"""Find the lists of a page: groups of elements of like shape.

Every short selector that matches several elements names a candidate group (`article.product`, `#hits > li`, `table.files tr`), so
each group that wins can be written as a rule `each`. A group is scored as a list of records: it covers much of the page's text,
its elements have the same slots, their texts and links differ, and it is not in the navigation. (Records as repeated regions of
the tree: Liu et al., "Mining data records in web pages", KDD 2003. Main content by the share of text and links: Kohlschütter et
al., "Boilerplate detection using shallow text features", WSDM 2010.)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise

from pipeline.crawl.suggest.lists.slots import Record, Slot, link_of, slots_of
from pipeline.crawl.suggest.lists.tree import Element, Tree
from pipeline.crawl.suggest.selectors import is_generated, is_utility, names_of, quoted

_SAMPLE = 24
"""Number of elements of a group that are compared."""
_SCORED = 90
"""Number of groups that are scored; they have the most text."""
_MIN_SIZE = 2
_MOST_NESTING = 20
_MOST_INSIDE = 2_000
_RECORD_TAGS = frozenset(["article", "section", "div", "li", "tr", "a", "p", "dt", "dl", "td", "tbody", "table", "h2", "h3", "h4", "h5",
                          "figure", "details", "blockquote", "span", "ul", "ol", "pre", "fieldset", "form", "header", "main", "h1", "dd",
                          "center", "font", "b", "label", "address", "aside"])
_ANCHOR_TAGS = frozenset(["main", "article", "ul", "ol", "table", "dl", "pre", "tbody", "section"])

# Weights of the score. Each is a factor between 0 and 1; the score is their product.
COVER_POWER = 0.5        # how strongly the share of the page's text counts
FEW_RECORDS = 8          # a group with at least as many records gets no deduction for its size
ONE_FIELD = 0.45         # records with one value that varies; two and more get closer to 1
SURE_ONE_FIELD = 0.85    # a list of links only is a list, although other lists are more likely to be meant
HAS_NESTED = 0.7         # elements that contain others of their kind that the selector leaves out
NO_LINK = 0.6            # records without a link of their own
CONTAINER = 0.3          # elements that each contain several records
NESTED = 0.85            # elements that contain each other, such as threads of comments
BOILERPLATE = 0.15       # inside navigation, a footer, a sidebar, breadcrumbs, pagination
OUTSIDE_MAIN = 0.5       # outside <main> although the page has one
CELL = 0.35              # cells of a table instead of its rows
IN_PAGE = 0.2            # links to parts of the same page: a table of contents

_MAX_BESIDE = 6
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_IDENTIFIER = re.compile(r"[A-Za-z][\w-]*\Z")
_STATE = re.compile(r"(?:^|[-_])(?:new|open|closed|done|read|unread|status|prio\w*|odd|even|normal|public|private|sale|instock|publish|sticky|"
                    r"active|default|standard|visible|animate|p\d)(?:$|[-_])", re.IGNORECASE)
_RECORD = re.compile(r"(?:item|row|card|post|product|result|entry|thread|topic|listing|article|story|job|record|teaser|tile|hit|issue|ticket|"
                     r"bug|repo|package|event|book|message|comment)$", re.IGNORECASE)
_VAGUE = frozenset(["a", "li", "tr", "div", "p", "span", "td", "ul", "b", "font"])
_AROUND = re.compile(r"""(?:^|[-_\s])(?:nav|navbar|navigation|menu|submenu|breadcrumbs?|crumbs?|pagination|pager|paginator|pagelinks?|footer|
    foot|sidebar|side|aside|widgets?|toc|tag-?cloud|tagcloud|related|recent-?\w+|languages?|lang|interlanguage|cookie|share|social|toolbar|tabs?|
    dropdown|modal|popup|ads?|advert\w*|banner|sponsor\w*|promo\w*|masthead|topbar|login|search-?(?:box|form)|skip|facets?|
    catlinks|blogroll|portlet|sitenav|topnav|subnav|linklist)(?:$|[-_\s\d])""", re.VERBOSE | re.IGNORECASE)
_AROUND_TAGS = frozenset(["nav", "footer", "aside", "menu"])
_AROUND_ROLES = frozenset(["navigation", "menu", "menubar", "contentinfo", "complementary", "search", "tablist", "toolbar", "banner"])


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


def groups(tree: Tree) -> list[Group]:
    """Return the candidate groups of a page, best first."""
    page = _Page(tree)
    candidates = [group for group in _candidates(tree) if page.may_be_list(group)]
    candidates.sort(key=page.first_look, reverse=True)
    scored = candidates[:_SCORED]
    for group in scored:
        group.score = page.score(group)
    scored.sort(key=lambda group: group.score, reverse=True)
    return [group for group in scored if group.score > 0]


def sample(elements: Sequence[Element], most: int = _SAMPLE) -> list[Element]:
    """Return evenly spaced elements, at most `most`."""
    step = max(1.0, len(elements) / most)
    return [elements[int(place * step)] for place in range(min(most, len(elements)))]


def _candidates(tree: Tree) -> list[Group]:
    """Return a group for each short selector that matches at least two elements; of selectors for the same elements, the simplest."""
    named: dict[str, list[Element]] = {}
    anchors: dict[int, list[str]] = {}
    for element in tree.elements:
        if element.tag in _RECORD_TAGS or "-" in element.tag:
            for selector in dict.fromkeys(_each_selectors(element, anchors)):
                named.setdefault(selector, []).append(element)
    same: dict[tuple[int, ...], str] = {}
    for selector, elements in named.items():
        if len(elements) < _MIN_SIZE:
            continue
        place = (len(elements), *(element.at for element in elements))
        known = same.get(place)
        if known is None or cost(selector) < cost(known):
            same[place] = selector
    return [Group(selector, [tree.elements[at] for at in place[1:]]) for place, selector in same.items()]


def cost(selector: str) -> float:
    """Return how unwelcome a selector is: its length, and more for positions, bare tags and classes of the look."""
    steps = re.split(r"\s*>\s*|\s+", selector)
    bare = (not re.search(r"[.#\[]", selector)) + (selector in _VAGUE)
    look = sum(is_utility(name) for name in re.findall(r"\.([\w-]+)", selector))
    last = re.findall(r"\.([\w-]+)", steps[-1])
    states = 15 * sum(_STATE.search(name) is not None for name in last) - 6 * any(_RECORD.search(name) for name in last)
    return 12 * len(steps) + len(selector) / 4 + 14 * bare + 25 * look + 3 * selector.count("[") + 20 * selector.count("[class") + states


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


class _Page:
    """What the score of a group compares with: the text of the whole page, and which parts are around the content."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        elements = tree.elements
        body = next((element for element in elements if element.tag == "body"), elements[0])
        self._text = max(1, body.length)
        main = [element for element in elements if element.tag == "main" or element.attributes.get("role") == "main"]
        self._main = main[0] if len(main) == 1 and main[0].length > 0.3 * self._text else None
        self._factor = [1.0] * len(elements)
        for element in elements:
            above = self._factor[element.parent.at] if element.parent is not None else 1.0
            self._factor[element.at] = min(above, BOILERPLATE) if self._is_around(element) else above
        content = sum(element.length for element in elements if element.parent is not None
                      and self._factor[element.at] < 1 and self._factor[element.parent.at] == 1)
        self._content = max(1, self._text - content, self._text // 10)

    def _is_around(self, element: Element) -> bool:
        if element.tag in ("html", "body", "main", "tr", "td", "article"):
            return False
        if element.tag in _AROUND_TAGS or (element.attributes.get("role") or "") in _AROUND_ROLES:
            return element.length < 0.9 * self._text
        if element.tag == "header" and element.depth <= 4:
            return element.length < 0.5 * self._text
        names = " ".join([*(name for name in element.classes if not is_utility(name)), element.attributes.get("id") or ""])
        return bool(names) and element.length < 0.5 * self._text and _AROUND.search(names) is not None

    def may_be_list(self, group: Group) -> bool:
        """Return whether a group has some text, and its elements are not larger and not nested deeper than records are."""
        elements = group.elements
        return (sum(element.length for element in elements) >= 2 * len(elements) and max(element.size for element in elements) <= _MOST_INSIDE
                and _nesting(elements) <= _MOST_NESTING)

    def first_look(self, group: Group) -> float:
        """Return a quick estimate of the score."""
        factor = max(self._factor[element.at] for element in sample(group.elements, 5))
        text = sum(element.length for element in group.elements) / self._text
        return factor * min(1.0, text) * _size_factor(len(group.elements)) / (1 + cost(group.selector) / 400)

    def score(self, group: Group) -> float:
        """Return how much a group looks like the main list of the page; fill in its records and slots."""
        elements = group.elements
        heads = sample(elements)
        members = frozenset(element.at for element in elements)
        group.records = records = records_of(heads, members, self._tree)
        group.slots = slots = slots_of(records, self._tree)
        nested = sum(later.at <= one.at + one.size for one, later in pairwise(elements)) / len(elements)
        text = sum(record.length for record in records) * len(elements) / len(records)
        if nested:
            text = sum(element.length for element in _outermost(elements))
        cover = min(1.0, text / self._content)
        factor = sum(self._factor[element.at] for element in heads) / len(heads)
        if self._main is not None and not all(self._main.at < one.at <= self._main.at + self._main.size for one in heads):
            factor *= OUTSIDE_MAIN
        count = len(records)
        score: float = cover ** COVER_POWER * _size_factor(len(elements)) * likeness(slots, count) * factor * _same_place(elements)
        score *= _fields_factor(slots, count) * _own_links(slots, count) * _container_factor(slots, count)
        score *= NESTED if nested > 0.1 else HAS_NESTED if _has_records_inside(elements[0].tag, slots) else 1
        score *= CELL if elements[0].tag in ("td", "th", "dd") and _common_slots(slots, count) < 3 else 1
        score /= 1 + cost(group.selector) / 600
        group.sure = min(1.0, score / _fields_factor(slots, count) * (SURE_ONE_FIELD if _varied(slots, count) < 2 else 1))
        return score


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


def _size_factor(count: int) -> float:
    return min(1.0, math.log2(count) / math.log2(FEW_RECORDS) if count > 1 else 0.0)


def likeness(slots: dict[str, Slot], count: int) -> float:
    """Return how alike records are: the mean overlap (Jaccard) of a record's slots and the slots that most records have."""
    common = {key for key, slot in slots.items() if slot.presence(count) >= 0.5}
    if not common:
        return 0.05
    shares = []
    for number in range(count):
        own = {key for key, slot in slots.items() if number in slot.found}
        shares.append(len(own & common) / len(own | common))
    return sum(shares) / count


def _common_slots(slots: dict[str, Slot], count: int) -> int:
    return sum(slot.presence(count) >= 0.6 for slot in slots.values())


def _container_factor(slots: dict[str, Slot], count: int) -> float:
    """Return a deduction if the elements contain several records each: the slot of the title has several values in each."""
    titles = [slot for slot in slots.values() if slot.presence(count) >= 0.6 and _is_link_slot(slot)]
    titles = titles or [slot for slot in slots.values() if slot.presence(count) >= 0.6 and re.search(r"> (?:h\d|b|strong)(?:\.[^>]*)?$", slot.key)]
    if _columns_are_alike(slots, count):
        return CONTAINER
    if not titles:
        return 1.0
    title = max(titles, key=lambda slot: sum(element.length for elements in slot.found.values() for element in elements))
    repeats = title.repeats()
    return 1.0 if repeats < 1.5 else CONTAINER if repeats >= 2 else 0.6


def _has_records_inside(tag: str, slots: dict[str, Slot]) -> bool:
    """Return whether records contain records of the same shape, such as the answers to a message."""
    return any(key != inner and inner.endswith(f" > {tag}{key}") for key in slots if key.startswith(" >") for inner in slots)


def _columns_are_alike(slots: dict[str, Slot], count: int) -> bool:
    """Return whether the cells of a row are records: each cell has the same slots, and several."""
    columns: dict[str, set[str]] = {}
    for key, slot in slots.items():
        if slot.presence(count) >= 0.5 and (match := re.match(r" > td[^>\[]*\[(\d+)\](.*)", key)):
            columns.setdefault(match[1], set()).add(match[2])
    inner = list(columns.values())
    return len(inner) >= 2 and all(one == inner[0] for one in inner) and len(inner[0]) >= 3


def _is_link_slot(slot: Slot) -> bool:
    return all(link_of(element) and element.length for _, element in slot.firsts())


def _nesting(elements: Sequence[Element]) -> int:
    """Return how many elements are inside each other at most."""
    most, open_ends = 0, list[int]()
    for element in elements:
        while open_ends and open_ends[-1] < element.at:
            open_ends.pop()
        open_ends.append(element.at + element.size)
        most = max(most, len(open_ends))
    return most


def _outermost(elements: Sequence[Element]) -> Iterator[Element]:
    """Yield the elements that are in none of the others."""
    end = -1
    for element in elements:
        if element.at > end:
            end = element.at + element.size
            yield element


def _same_place(elements: Sequence[Element]) -> float:
    """Return the share of the elements that are in the same kind of parent."""
    places = Counter(tuple(above.tag for above in islice(element.ancestors(), 2)) for element in elements)
    return places.most_common(1)[0][1] / len(elements)


def _varied(slots: dict[str, Slot], count: int) -> int:
    return sum(slot.presence(count) >= 0.5 and slot.distinct() > 0.3 for slot in slots.values())


def _fields_factor(slots: dict[str, Slot], count: int) -> float:
    """Return a factor for how many slots of the records vary, and how much."""
    most = max((slot.distinct() for slot in slots.values() if slot.presence(count) >= 0.5), default=0.0)
    few = {0: 0.02, 1: ONE_FIELD, 2: 0.75, 3: 0.9}
    return max(0.02, few.get(_varied(slots, count), 1.0) * most ** 2)


def _own_links(slots: dict[str, Slot], count: int) -> float:
    """Return a deduction if the records have no link that is their own."""
    best, best_links = 0.0, [""]
    for slot in slots.values():
        links = [link for _, element in slot.firsts() if (link := link_of(element))]
        if len(links) >= 0.6 * count and len(set(links)) / count > best:
            best, best_links = len(set(links)) / count, links
    in_page = sum(link.startswith("#") for link in best_links) > 0.8 * len(best_links)
    is_toc = in_page and _common_slots(slots, count) < 3
    return (NO_LINK + (1 - NO_LINK) * min(1.0, best)) * (IN_PAGE if is_toc else 1)
