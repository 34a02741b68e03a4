"""Short and stable CSS selectors for elements of a page.

A selector is built from what a developer chose by meaning: `itemprop`, ids, classes, `data-` attributes, the tag. Positions
(:nth-child) come last. Names that a program generated (hashes of CSS modules, counters such as post-123) are never used.
`selector_for` tries the candidates from short to long on real scopes and returns the first one that finds what it should, and
nothing where there is nothing to find. The mending of rules uses the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from selectolax.lexbor import LexborNode, SelectolaxError

from pipeline.crawl.suggest.names import known

_STRICT = 0.97
IDENTIFIER = re.compile(r"-?[A-Za-z_][A-Za-z0-9_-]*")
"""Names of tags, classes, ids and attributes that need no escape in a selector."""
_HASHED = re.compile(r"""
    ^(?:css|sc|jsx|jss|emotion|styled|svelte|makeStyles|ng-tns|ember|react|vue|data-v|_ngcontent|_nghost|yui|ext-gen|gwt-uid|radix
        |headlessui|astro|r)[-_:]?[A-Za-z]?[0-9a-f]*\d  # css-1x2y3z, jss12, ember482, svelte-1a2b3c
  | ^(?:css|sc|jsx|emotion|styled|svelte|astro)-[A-Za-z0-9]{5,}
  | __?[A-Za-z0-9+-]*\d[A-Za-z0-9+-]*[A-Za-z]?$ (?<=[A-Za-z0-9_-]{5})       # Card_root__x7a9f
  | __(?=[A-Za-z0-9]*(?:\d|[A-Z][A-Za-z0-9]*[A-Z]))[A-Za-z0-9+-]{5,8}$
  | ^[0-9a-f]{6,}$
  | \d{3,}                                                                  # post-1234, thread_4711
  | [-_:]\d+$                                                               # row-7
  | ^[a-z]{1,2}\d+$ | ^\d
""", re.VERBOSE)
_MIXED = re.compile(r"[A-Z].*\d.*[a-z]|\d.*[A-Z].*[a-z]|[a-z]\d[a-z]+\d|\d[a-z]\d")
_VOWELS = re.compile(r"[aeiouy]", re.IGNORECASE)
_UTILITY = re.compile(r"""
    ^-?(?:[mp][trblxyse]?|w|h|min|max|gap|space|text|font|bg|border|rounded|shadow|flex|grid|items|justify|content|self|order|col|row|d|
        align|float|position|overflow|z|opacity|leading|tracking|inset|top|left|right|bottom|container|offset|g[xy]?|fs|fw|lh|btn|
        transition|duration|ease|cursor|ring|divide|object|aspect|line-clamp|columns|span|sm|md|lg|xl|xs|u|pull|push|display|
        visible|hidden|is-[a-z]+-\d)-.+
  | [:/\[\]!@%]
  | ^(?:flex|grid|block|inline|inline-block|hidden|relative|absolute|fixed|static|sticky|truncate|underline|italic|uppercase|lowercase|
        capitalize|row|col|cols?|container|clearfix|cf|group|antialiased|container-fluid|table|table-striped|table-hover|left|right|center|
        wrapper|inner|outer|active|first|last|odd|even|alt|hover|selected|current|visited|unread|read|new|open|closed|large|small|
        medium|bold|hide|show|visible|disabled|clear|body|text|primary|secondary|muted|small|row\d|bg\d|even\d?|odd\d?|alternate|rounded|border|shadow)$
  | [-_](?:un)?read$ | ^(?:border|rounded|text|bg|color)-
""", re.VERBOSE)


_VAGUE_TAGS = frozenset(["a", "span", "div", "p", "td", "b", "i", "em", "strong", "li", "font", "small"])
_TELLING_TAGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6", "header", "time", "address", "figcaption", "blockquote", "dt", "dd"])


@lru_cache(maxsize=20_000)
def is_generated(name: str) -> bool:
    """Return whether a class name or an id looks generated: a hash, a name of a CSS-in-JS library, or a name with a counter."""
    if IDENTIFIER.fullmatch(name) is None or len(name) > 60:
        return not _is_foreign_word(name)
    if _HASHED.search(name) or _MIXED.search(name):
        return True
    if len(name) >= 5 and name.isalpha() and _VOWELS.search(name) is None:  # a hash without digits, such as xkcdq
        return True
    humps = re.findall(r"[A-Z]?[a-z]+|[A-Z]", name)
    return name.isalpha() and len(name) <= 8 and len(humps) >= 3 and len(name) / len(humps) < 2.5  # kXyPqz


def _is_foreign_word(name: str) -> bool:
    return name.replace("-", "").replace("_", "").isalpha() and len(name) <= 40


@lru_cache(maxsize=20_000)
def is_utility(name: str) -> bool:
    """Return whether a class describes the look or the state of an element (mt-4, col-md-6, odd), not its meaning."""
    return _UTILITY.search(name) is not None


def semantic_classes(classes: Iterable[str]) -> list[str]:
    """Return the classes with a meaning; where there are none, [].

    A class that occurs in another one (product, product-card) comes in the order of the page.
    """
    return [name for name in classes if not is_generated(name) and not is_utility(name)]


def quoted(value: str) -> str:
    """Return a value as a CSS string."""
    escaped = "".join(f"\\{ord(char):x} " if char < " " or char == "\x7f" else f"\\{char}" if char in "\\'" else char for char in value)
    return f"'{escaped}'"


def names_of(node: LexborNode) -> list[str]:
    """Return the simple selectors of one element without its position, the most stable first. The tag is the last one."""
    tag, attributes = node.tag or "*", node.attributes
    found = [f"[itemprop={quoted(name)}]" if IDENTIFIER.fullmatch(name) is None else f"[itemprop={name}]"
             for name in (attributes.get("itemprop") or "").split()[:2]]
    classes = (attributes.get("class") or "").split()
    found += [f".{name}" for name in sorted(semantic_classes(classes), key=_is_vague)[:4]]
    for name, value in attributes.items():
        if name in ("data-testid", "data-test", "data-role", "data-qa", "data-cy", "data-field", "data-label", "rel", "role", "name") \
                and value and len(value) <= 40 and not is_generated(value):
            found.append(f"{tag}[{name}={quoted(value)}]")
        elif name.startswith("data-") and IDENTIFIER.fullmatch(name) and not is_generated(name):
            found.append(f"{tag}[{name}]")
    found += [f"[class*={quoted(prefix)}]" for name in classes if (prefix := _stem(name))][:2]
    return [*found, tag]


@lru_cache(maxsize=20_000)
def _is_vague(name: str) -> bool:
    """Return whether a class says little: it has one or two letters, or no usual word for a part of a record."""
    return len(name) <= 2 or not known(name)


@lru_cache(maxsize=20_000)
def _stem(name: str) -> str:
    """Return the part of a hashed class of a CSS module that stays the same in the next build; "" if there is none."""
    match = re.fullmatch(r"([A-Za-z][A-Za-z-]*[A-Za-z](?:_[A-Za-z][A-Za-z-]*)?(?:__|_(?=[A-Za-z0-9+-]{5}$)))[A-Za-z0-9+-]{4,8}", name)
    return match[1] if match and len(match[1]) >= 5 and is_generated(name) else ""


def selectors_of(node: LexborNode, scope: LexborNode) -> Iterator[str]:
    """Yield selectors of an element in a scope, short and stable ones first, long ones and those with positions last."""
    if node.mem_id == scope.mem_id:
        yield "*"
        return
    above = list(_above(node, scope))
    yield from _by_name(node, above)
    yield from _by_position(node, above, scope)


def _by_name(node: LexborNode, above: Sequence[LexborNode]) -> Iterator[str]:
    """Yield selectors that use names, of the element itself and of the elements around it."""
    own, tag = names_of(node), node.tag or "*"
    classes = [name for name in own if name.startswith(".")]
    for name in own if tag not in _VAGUE_TAGS else own[:-1]:
        yield name
        if name in classes and not _is_vague(name[1:]):
            yield f"{tag}{name}"
    yield from (f"{name} {tag}" for parent in above[:2] for name in names_of(parent)
                if ((name.startswith((".", "[itemprop")) and not _is_vague(name.strip("."))) or name in _TELLING_TAGS))
    yield from (tag, "a[href]") if tag == "a" else (tag,)
    yield from (f"{tag}{name}" for name in classes)
    yield from ["".join(classes[:2])] if len(classes) > 1 else []
    yield from (f"{name} {own[-1]}" for parent in above[:4] for name in names_of(parent))
    yield from (f"{name} > {one}" for parent in above[:1] for name in names_of(parent) for one in own)
    yield from (f".{name}" for name in (node.attributes.get("class") or "").split()
                if is_utility(name) and not is_generated(name) and IDENTIFIER.fullmatch(name))


def _by_position(node: LexborNode, above: Sequence[LexborNode], scope: LexborNode) -> Iterator[str]:
    """Yield selectors that use positions among sibling elements."""
    tag, place = node.tag or "*", position(node)
    yield from (f"{tag}:first-of-type", f"{tag}:last-child", f"{tag}:nth-of-type({_nth_of_type(node)})", f"{tag}:nth-child({place})")
    for parent in above[:3]:
        for name in names_of(parent):
            yield f"{name} > {tag}:nth-child({place})"
            yield f"{name} {tag}:nth-child({place})"
    for parent in above[:1]:
        step = f"{parent.tag}:nth-child({position(parent)})"
        yield from (f"{step} > {tag}", f"{step} > {tag}:nth-child({place})", f"{step} {tag}")
    yield from (f"{parent.tag}:nth-child({position(parent)}) {tag}" for parent in above[1:3])
    steps = [f"{one.tag}:nth-child({position(one)})" for one in reversed(above)]
    yield " > ".join([scope.tag or "*", *steps, f"{tag}:nth-child({place})"])


def _above(node: LexborNode, scope: LexborNode) -> Iterator[LexborNode]:
    """Yield the ancestors of a node up to the scope, without the scope."""
    above = node.parent
    for _ in range(30):
        if above is None or above.mem_id == scope.mem_id or not above.is_element_node:
            return
        yield above
        above = above.parent


def position(node: LexborNode) -> int:
    """Return the position of an element among its sibling elements, from 1."""
    place, before = 1, node.prev
    while before is not None:
        place += before.is_element_node
        before = before.prev
    return place


def _nth_of_type(node: LexborNode) -> int:
    place, before = 1, node.prev
    while before is not None:
        place += before.is_element_node and before.tag == node.tag
        before = before.prev
    return place


def selector_for(node: LexborNode, scope: LexborNode, *, rivals: Sequence[tuple[LexborNode, LexborNode | None]] = (),
                 share: float = 0.95) -> str | None:
    """Return the best selector whose first match in `scope` is `node`; None if no selector agrees with enough rivals.

    rivals: further scopes, each with the element that the same selector must find first in it, or None where it must find nothing;
    share: how many of them must agree. Only one in thirty may find another element than its own. Among the selectors that agree as
    often, the first one in the order of `selectors_of` wins.
    """
    best, most = None, -1.0
    needed = share * len(rivals)
    with_element = [(other, wanted) for other, wanted in rivals if wanted is not None]
    without = [other for other, wanted in rivals if wanted is None]
    for selector in dict.fromkeys(selectors_of(node, scope)):
        if not _finds(selector, scope, node):
            continue
        agreed = sum(_finds(selector, other, wanted) for other, wanted in with_element)
        if agreed < _STRICT * len(with_element):
            continue
        agreed += sum(_finds(selector, other, None) for other in without)
        if agreed == len(rivals):
            return selector
        if agreed >= needed and agreed > most:
            best, most = selector, agreed
    return best


def _finds(selector: str, scope: LexborNode, wanted: LexborNode | None) -> bool:
    try:
        found = scope.css_first(selector)
    except SelectolaxError:
        return False
    return found is None if wanted is None else found is not None and found.mem_id == wanted.mem_id


def matches(root: LexborNode, selector: str) -> list[LexborNode]:
    """Return what a selector matches; [] if lexbor does not support it."""
    try:
        return root.css(selector)
    except SelectolaxError:
        return []
