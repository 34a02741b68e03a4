"""Score the groups of a page as lists of records.

The main list of a page covers much of its text, its elements have the same slots, their texts and links differ, and it is not in
the navigation. (Main content by shares of text and links: Kohlschütter et al., "Boilerplate detection using shallow text features",
WSDM 2010.)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

from pipeline.crawl.suggest.lists.slots import INLINE, Record, Slot, likeness, link_of, slots_of
from pipeline.crawl.suggest.lists.structure import Group, candidates, cost, records_of, sample
from pipeline.crawl.suggest.lists.tree import Element, Tree
from pipeline.crawl.suggest.selectors import is_utility, semantic_classes

# Weights of the score. Each is a factor between 0 and 1; the score is their product.
COVER_POWER = 0.5        # how strongly the share of the page's text counts
FEW_RECORDS = 8          # a group with at least as many records gets no deduction for its size
ONE_FIELD = 0.45         # records with one value that varies; two and more get closer to 1
SURE_ONE_FIELD = 0.85    # a list of links only is a list, although other lists are more likely to be meant
INCOMPLETE = 0.7         # others of their kind are inside or around the elements, and the selector leaves them out
NO_LINK = 0.6            # records without a link of their own
CONTAINER = 0.3          # elements that each contain several records
HALF_CONTAINER = 0.6     # elements whose longest links occur several times in each, while other links do not
NESTED = 0.85            # elements that contain each other, such as threads of comments
BOILERPLATE = 0.15       # inside navigation, a footer, a sidebar, breadcrumbs, pagination
CONTENTS = 0.35          # inside a table of contents
OUTSIDE_MAIN = 0.5       # outside <main> although the page has one
PROSE = 0.3              # paragraphs of a text with links in them
IN_TEXT = 0.5            # words in a text, such as <span> and <em>
BESIDE_OTHERS = 0.5      # links beside each other in one sentence: parts of a record, such as a revision and its author
BANNERS = 0.4            # rows and headings without a link above several records each, such as the days of a list of changes
CELL = 0.35              # cells of a table instead of its rows
IN_PAGE = 0.2            # links to parts of the same page: a table of contents

_SCORED = 90
"""Number of groups that are scored; they have the most text."""
_MOST_NESTING = 20
_MOST_INSIDE = 2_000
_CONTENT_TAGS = frozenset(["html", "body", "main", "tr", "td", "article"])
_CONTENTS = re.compile(r"(?:^|[-_\s])toc(?:$|[-_\s\d])|table-of-contents", re.IGNORECASE)
_AROUND = re.compile(r"""(?:^|[-_\s])(?:nav|navbar|navigation|menu|submenu|breadcrumbs?|crumbs?|pagination|pager|paginator|pagelinks?|footer|
    foot|sidebar|side|aside|widgets?|tag-?cloud|tagcloud|related|recent-?\w+|languages?|lang|interlanguage|cookie|share|social|toolbar|tabs?|
    dropdown|modal|popup|ads?|advert\w*|banner|sponsor\w*|promo\w*|masthead|topbar|login|search-?(?:box|form)|skip|facets?|
    catlinks|blogroll|portlet|sitenav|docnav|topnav|subnav|linklist)(?:$|[-_\s\d])""", re.VERBOSE | re.IGNORECASE)
_AROUND_TAGS = frozenset(["nav", "footer", "aside", "menu"])
_AROUND_ROLES = frozenset(["navigation", "menu", "menubar", "contentinfo", "complementary", "search", "tablist", "toolbar", "banner"])


def groups(page: Page) -> list[Group]:
    """Return the candidate groups of a page, best first."""
    possible = [group for group in candidates(page.tree) if page.may_be_list(group)]
    possible.sort(key=page.first_look, reverse=True)
    scored = possible[:_SCORED]
    for group in scored:
        group.score = page.score(group)
    scored.sort(key=lambda group: group.score, reverse=True)
    return [group for group in scored if group.score > 0]


class Page:
    """What the score of a group compares with: the text of the whole page, and which parts are around the content."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        elements = tree.elements
        body = next((element for element in elements if element.tag == "body"), elements[0])
        self._text = max(1, body.weight)
        main = [element for element in elements if element.tag == "main" or element.attributes.get("role") == "main"]
        self._main = main[0] if len(main) == 1 and main[0].weight > 0.3 * self._text else None
        self._factor = [1.0] * len(elements)
        for element in elements:
            above = self._factor[element.parent.at] if element.parent is not None else 1.0
            self._factor[element.at] = min(above, self._around_factor(element))
        around = sum(element.weight for element in elements if element.parent is not None
                      and self._factor[element.at] < 1 and self._factor[element.parent.at] == 1)
        self._content = max(1, self._text - around, self._text // 10)

    def _around_factor(self, element: Element) -> float:
        """Return the deduction for what is in an element, if it is a part around the content; 1 for any other element."""
        if element.tag in _CONTENT_TAGS:
            return 1.0
        share = element.weight / self._text
        if element.tag in _AROUND_TAGS or (element.attributes.get("role") or "") in _AROUND_ROLES:
            return BOILERPLATE if share < 0.9 else 1.0
        if element.tag == "header" and element.depth <= 4:
            return BOILERPLATE if share < 0.5 else 1.0
        names = " ".join([*(name for name in element.classes if not is_utility(name)), element.attributes.get("id") or ""])
        if not names or share >= 0.5:
            return 1.0
        return BOILERPLATE if _AROUND.search(names) else CONTENTS if _CONTENTS.search(names) else 1.0

    def may_be_list(self, group: Group) -> bool:
        """Return whether a group has some text, and its elements are not larger and not nested deeper than records are."""
        elements = group.elements
        return (sum(element.weight for element in elements) >= 2 * len(elements) and max(element.size for element in elements) <= _MOST_INSIDE
                and _nesting(elements) <= _MOST_NESTING)

    def first_look(self, group: Group) -> float:
        """Return a quick estimate of the score."""
        factor = max(self._factor[element.at] for element in sample(group.elements, 5))
        text = sum(element.weight for element in group.elements) / self._text
        return factor * min(1.0, text) * _size_factor(len(group.elements)) / (1 + cost(group.selector) / 400)

    def score(self, group: Group) -> float:
        """Return how much a group looks like the main list of the page; fill in its records and slots."""
        elements = group.elements
        heads = sample(elements)
        members = frozenset(element.at for element in elements)
        group.records = records = records_of(heads, members, self.tree)
        group.slots = slots = slots_of(records, self.tree)
        nested = sum(later.at <= one.at + one.size for one, later in pairwise(elements)) / len(elements)
        text = sum(record.weight for record in records) * len(elements) / len(records)
        if nested:
            text = sum(element.weight for element in _outermost(elements))
        cover = min(1.0, text / self._content)
        factor = sum(self._factor[element.at] for element in heads) / len(heads)
        if self._main is not None and not all(self._main.at < one.at <= self._main.at + self._main.size for one in heads):
            factor *= OUTSIDE_MAIN
        count = len(records)
        score: float = cover ** COVER_POWER * _size_factor(len(elements)) * likeness(slots, count) * factor
        score *= _same_place(list(_outermost(elements)) if nested else elements)
        score *= _fields_factor(slots, count) * _own_links(slots, count) * _container_factor(slots, count)
        score *= NESTED if nested > 0.1 else INCOMPLETE if _leaves_out_alike(heads, members, slots) else 1
        score *= BESIDE_OTHERS if _are_in_sentences(elements) else 1
        score *= BANNERS if _are_banners(records) else 1
        score *= PROSE if sum(map(_is_prose, heads)) > 0.5 * count else 1
        if _common_slots(slots, count) < 3:
            score *= CELL if elements[0].tag in ("td", "th", "dd") else IN_TEXT if elements[0].tag in INLINE else 1
        score /= 1 + cost(group.selector) / 300
        group.sure = min(1.0, score / _fields_factor(slots, count) * (SURE_ONE_FIELD if _varied(slots, count) < 2 else 1))
        return score


def _is_prose(element: Element) -> bool:
    """Return whether an element is mostly text of its own that begins before its first link, or a link inside such a text."""
    if element.tag == "a":
        return min(len(element.before), len(element.tail)) > 15 and element.parent is not None and element.parent.tag != "pre"
    if element.length < 60 or len(element.text) < 0.6 * element.length:
        return False
    return not element.children or len(element.children[0].before) > 15


def _are_banners(records: Sequence[Record]) -> bool:
    """Return whether the records have no link in their first element, and different numbers of rows or boxes with links below it."""
    below = []
    for record in records:
        linked = [element for element in record.after if element.links and not _is_prose(element)]
        if record.head.links or not linked:
            return False
        if len(linked) == 1 and linked[0].tag in ("ul", "ol", "dl"):
            linked = [element for element in linked[0].children if element.links and not _is_prose(element)] or linked
        below.append(sum((element.tag, element.classes) == (linked[0].tag, linked[0].classes) for element in linked))
    many = sum(count >= 2 for count in below)
    return (len(set(below)) > 1 and many >= 0.2 * len(below)) or _are_narrow_rows(records)


def _are_narrow_rows(records: Sequence[Record]) -> bool:
    """Return whether the first elements are rows with one text, and a row with several texts is below each."""
    def texts(row: Element) -> int:
        return sum(cell.length > 0 for cell in row.children)

    return all(record.head.tag == "tr" and texts(record.head) == 1 and any(row.tag == "tr" and texts(row) > 1 for row in record.after)
               for record in records)


def _are_in_sentences(elements: Sequence[Element]) -> bool:
    """Return whether most elements are links with another of them in the same sentence: one parent, which has text of its own."""
    parents = Counter(element.parent.at for element in elements if element.tag == "a" and element.parent is not None and element.parent.text)
    return len(parents) >= 3 and sum(2 <= many <= 4 for many in parents.values()) > 0.6 * len(parents) and parents.total() > 0.6 * len(elements)


def _size_factor(count: int) -> float:
    return min(1.0, math.log2(count) / math.log2(FEW_RECORDS) if count > 1 else 0.0)


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
    if repeats < 1.5:
        return 1.0
    return HALF_CONTAINER if repeats < 2 or any(slot.repeats() < 1.5 for slot in titles) else CONTAINER


def _leaves_out_alike(heads: Sequence[Element], members: frozenset[int], slots: dict[str, Slot]) -> bool:
    """Return whether the group leaves out records like its own, inside or around its elements, such as the answers to a message."""
    common = [key for key, slot in slots.items() if key.startswith(" >") and slot.presence(len(heads)) >= 0.6]
    tag = heads[0].tag
    if any(key != inner and inner.endswith(f" > {tag}{key}") for key in common for inner in slots):
        return True
    outer = [above for head in heads if (above := next((one for one in head.ancestors() if one.tag == tag), None)) is not None]
    if tag == "tr" or len(outer) < 0.5 * len(heads) or any(one.at in members for one in outer):
        return False
    first = {key.split(" > ")[1].partition("[")[0].partition(".")[0] for key in common if key.count(" > ") == 1}
    return bool(first) and all(first <= {child.tag for child in one.children} for one in outer)


def _columns_are_alike(slots: dict[str, Slot], count: int) -> bool:
    """Return whether the cells of a row, or the terms of a <dl>, are records: each has the same slots, and several."""
    columns: dict[str, dict[str, set[str]]] = {"td": {}, "dt": {}}
    for key, slot in slots.items():
        if slot.presence(count) >= 0.5 and (match := re.match(r" > (td|dt)[^>\[]*\[(\d+)\](.*)", key)):
            columns[match[1]].setdefault(match[2], set()).add(match[3])
    return any(len(inner) >= 2 and all(one == inner[0] for one in inner) and len(inner[0]) >= 3
               for inner in (list(found.values()) for found in columns.values()))


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
    """Return the share of the elements that are in the same kind of parent: the same tags, the same class."""
    parents = _share(element.parent.tag for element in elements if element.parent is not None)
    places = _share(tuple(above.tag for above in islice(element.ancestors(), 2)) for element in elements)
    classes = Counter(name for element in elements if element.parent is not None for name in set(semantic_classes(element.parent.classes)))
    most = max(classes.values(), default=0) / len(elements)
    return parents * (1 + places) / 2 * (most if most >= 0.7 else 1)


def _share(values: Iterable[object]) -> float:
    """Return the share of the most common value."""
    counts = Counter(values)
    return counts.most_common(1)[0][1] / counts.total() if counts else 1.0


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
