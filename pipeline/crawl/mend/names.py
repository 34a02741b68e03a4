"""Selectors of one element by its names and its position, with a cost that prefers stable ones.

Names are its id, classes, attributes and tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from pipeline.crawl.mend.page_tree import Element, PageTree
from pipeline.crawl.suggest.selectors import IDENTIFIER, is_generated, is_utility

GENERATED_COST = 7.0
_POSITION_COST = 3.5
_MEANINGFUL = ("itemprop", "itemtype", "rel", "role", "datetime", "property", "name")


@dataclass(frozen=True)
class Name:
    """A simple CSS selector of one element, and its cost: the lower, the more likely it is to last."""

    css: str
    cost: float


def names_of(element: Element, *, position: bool = True) -> list[Name]:
    """Return the simple selectors that match an element, the best first."""
    tag, attributes = element.tag, element.attributes
    if not IDENTIFIER.fullmatch(tag):
        return []
    found = [Name(tag, 2.0 if tag in ("div", "span", "a", "p", "td", "li", "b", "i", "strong", "em", "img") else 1.4)]
    for name in _MEANINGFUL:
        value = attributes.get(name, "")
        if value and len(value) <= 60 and '"' not in value and "\\" not in value and "\n" not in value and not (
                name in ("datetime", "name") and any(char.isdigit() for char in value)):
            found.append(Name(f'[{name}="{value}"]' if name.startswith("item") else f'{tag}[{name}="{value}"]', 0.8 if name == "itemprop" else 1.2))
    for name, value in attributes.items():
        if name.startswith("data-") and IDENTIFIER.fullmatch(name) and not is_generated(name[5:]):
            found.append(Name(f"[{name}]", 1.5))
            if name in ("data-testid", "data-test", "data-qa", "data-role", "data-field", "data-type", "data-hook", "data-cy", "data-name",
                        "data-component", "data-label", "data-title") and len(value) <= 40 and IDENTIFIER.fullmatch(value):
                found.append(Name(f'[{name}="{value}"]', 0.9))
    for place, name in enumerate(attributes.get("class", "").split()):
        if not IDENTIFIER.fullmatch(name):
            continue
        cost = GENERATED_COST if is_generated(name) else 3.0 if is_utility(name) else 1.0
        found += [Name(f".{name}", cost + place * 0.05), Name(f"{tag}.{name}", cost + place * 0.05 + 0.1)]
    if (own_id := attributes.get("id", "")) and IDENTIFIER.fullmatch(own_id):
        found.append(Name(f"#{own_id}", GENERATED_COST if is_generated(own_id) else 0.7))
    if position:
        found.append(Name(f"{tag}:nth-of-type({element.position})", _POSITION_COST))
    return sorted(found, key=lambda name: name.cost)


def selectors_within(tree: PageTree, scope: Element, element: Element) -> list[Name]:
    """Return selectors of an element that are applied within a scope, such as an item, the best first."""
    if element.at == scope.at:
        return [Name("*", 2.0)]
    own = names_of(element)
    found = list(own)
    parent, *above = [*islice(tree.above(element, below=scope.at), 1, 5), scope][:5]
    is_top = parent.at == scope.at and IDENTIFIER.fullmatch(scope.tag) is not None
    parents = [Name(scope.tag, 1.0)] if is_top else names_of(parent)[:4]
    for name in own[:6]:
        found += [Name(f"{outer.css} > {name.css}", name.cost + outer.cost + 0.3) for outer in parents]
        for ancestor in [outer for outer in above[:3] if outer.at != scope.at]:
            found += [Name(f"{outer.css} {name.css}", name.cost + outer.cost + 0.4) for outer in names_of(ancestor, position=False)[:2]]
    before = _sibling_before(tree, element)
    if before is not None:
        found += [Name(f"{outer.css} + {name.css}", name.cost + outer.cost + 0.8)
                  for outer in names_of(before, position=False)[:3] for name in own[:3]]
    found += _paths(tree, scope, element)
    best: dict[str, Name] = {}
    for name in sorted(found, key=lambda entry: entry.cost):
        best.setdefault(name.css, name)
    return list(best.values())


def _sibling_before(tree: PageTree, element: Element) -> Element | None:
    before = element.node.prev
    while before is not None and before.is_text_node:
        before = before.prev
    return tree.element_of(before) if before is not None else None


def _paths(tree: PageTree, scope: Element, element: Element) -> list[Name]:
    """Return the selector that names each step from the scope to the element, by position and without it where that is enough."""
    steps: list[Element] = []
    for part in tree.above(element, below=scope.at):
        steps.append(part)
        if len(steps) > 8 or not IDENTIFIER.fullmatch(part.tag):
            return []
    if not IDENTIFIER.fullmatch(scope.tag):
        return []
    exact = [f"{part.tag}:nth-of-type({part.position})" for part in reversed(steps)]
    loose = [part.tag for part in reversed(steps)]
    cost = _POSITION_COST + 0.8 * len(steps)
    return [Name(" > ".join([scope.tag, *exact]), cost + 1), Name(" > ".join([scope.tag, *loose]), cost),
            Name(" > ".join([scope.tag, *loose[:-1], exact[-1]]), cost + 0.5)]
