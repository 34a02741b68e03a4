"""Operations on classes, ids and other attributes that selectors use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.redesigns.page import Page
from tests.redesigns.registry import operation
from tests.redesigns.tree import Element

_WORDS_TEXT = (
    "item card entry tile listing teaser media box panel block result story product post line cell unit module "
    "summary content body head title heading name label meta info detail caption sub aside main primary secondary "
    "top bottom left right text value note tag byline stamp cost amount figure thumb picture cover link anchor "
    "action more wrap holder group set")
WORDS = _WORDS_TEXT.split()
_UTILITIES_TEXT = (
    "flex grid block inline-flex items-center items-start justify-between gap-2 gap-4 p-2 p-4 px-3 py-1 m-0 mt-2 "
    "mb-4 mx-auto w-full max-w-4xl min-w-0 text-xs text-sm text-lg text-2xl font-medium font-semibold font-bold "
    "leading-6 tracking-tight text-gray-500 text-gray-900 text-slate-700 text-blue-600 bg-white bg-gray-50 "
    "rounded-lg rounded-xl border border-gray-200 shadow-sm hover:shadow-md hover:underline md:flex-row md:w-1/2 "
    "lg:grid-cols-3 sm:px-6 dark:bg-gray-900 truncate line-clamp-2 space-y-3 divide-y relative")
UTILITIES = _UTILITIES_TEXT.split()
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _digest(page_salt: str, text: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(f"{page_salt}:{text}".encode()).digest()[:12], "big")
    out = ""
    for _ in range(length):
        number, at = divmod(number, len(_LETTERS))
        out += _LETTERS[at]
    return out


def _rename(page: Page, new: Callable[[str], str]) -> bool:
    """Replace every class token of the page. Two tokens keep their difference."""
    known: dict[str, str] = {}
    taken: set[str] = set()
    for node in page.root.all():
        for token in (node.attrs.get("class") or "").split():
            if token not in known:
                name, number = new(token), 2
                while name in taken:
                    name, number = f"{new(token)}{number}", number + 1
                taken.add(name)
                known[token] = name
    for node in page.root.all():
        if node.attrs.get("class"):
            node.attrs["class"] = " ".join(known[token] for token in (node.attrs["class"] or "").split())
    return bool(known)


@operation("names", group="classes", weight=3)
def rename_classes(page: Page) -> bool:
    """Classes get other words: `product_pod` becomes `listing-card`."""
    joint, parts = page.random.choice("-_"), page.random.choice((1, 2, 2))
    prefix = page.random.choice(("", "", "x-", "site-", "c-"))
    return _rename(page, lambda token: prefix + joint.join(page.random.sample(WORDS, parts)))


@operation("names", group="classes", weight=3)
def hash_classes(page: Page) -> bool:
    """Classes get names as a bundler makes them: `css-1q2w3e`, `sc-aXt1k`, `Card_title__x3K9a`, `_3kd8s`."""
    salt = str(page.random.random())
    style = page.random.randrange(4)

    def new(token: str) -> str:
        code = _digest(salt, token, 6)
        word = page.random.choice(WORDS)
        return (f"css-{code.lower()}", f"sc-{code[:5]}", f"{word.title()}_{page.random.choice(WORDS)}__{code[:5]}", f"_{code}")[style]

    _name_all(page)
    return _rename(page, new)


@operation("names", group="classes", weight=2)
def utility_classes(page: Page) -> bool:
    """Classes become lists of utilities as of Tailwind; elements of the same classes get the same list."""
    _name_all(page)
    known: dict[str, str] = {}
    for node in page.root.all():
        if classes := node.attrs.get("class"):
            if classes not in known:
                known[classes] = " ".join(page.random.sample(UTILITIES, page.random.randint(2, 7)))
            node.attrs["class"] = known[classes]
    return bool(known)


@operation("names", group="classes", weight=2)
def bem_classes(page: Page) -> bool:
    """Classes become blocks and elements: `c-listing__title`, `c-listing__meta--small`."""
    block = f"{page.random.choice(('', 'c-', 'o-', 'm-'))}{page.random.choice(WORDS)}"
    _name_all(page)
    return _rename(page, lambda token: f"{block}__{page.random.choice(WORDS)}" + page.random.choice(("", "", f"--{page.random.choice(WORDS)}")))


@operation("names", group="classes", weight=1.5)
def remove_classes(page: Page) -> bool:
    """There are no classes any more, in the list or on the page."""
    scope = page.body if page.random.random() < 0.5 else page.around
    found = [node for node in scope.all() if "class" in node.attrs]
    for node in found:
        del node.attrs["class"]
    return bool(found)


@operation("names", weight=1.5)
def change_ids(page: Page) -> bool:
    """Ids get other names or go; what refers to them follows."""
    gone = page.random.random() < 0.3
    known: dict[str, str] = {}
    for node in page.root.all():
        if name := node.attrs.get("id"):
            known[name] = f"{page.random.choice(WORDS)}-{page.random.choice((page.random.choice(WORDS), str(page.random.randint(1, 999))))}-{len(known)}"
            if gone:
                del node.attrs["id"]
            else:
                node.attrs["id"] = known[name]
    places = {(id(node), where) for _, fields in page.all_places() for node, where in fields.values()}
    for node in page.root.all():
        for name in ("for", "aria-labelledby", "aria-controls", "aria-describedby"):
            if node.attrs.get(name) in known:
                node.attrs[name] = known[node.attrs[name] or ""]
        href = node.attrs.get("href") or ""
        if href[:1] == "#" and href[1:] in known and (id(node), "href") not in places:
            node.attrs["href"] = f"#{known[href[1:]]}"
    return bool(known)


@operation("names", weight=1.5)
def change_data_attributes(page: Page) -> bool:
    """`data-*`, `itemprop`, `role` and `rel` go, or `data-*` get other names, unless a field is read from them."""
    renamed = page.random.random() < 0.5
    found = False
    for node in page.root.all():
        for name in list(node.attrs):
            if name in node.shows.values() or not (name.startswith(("data-", "item")) or name in ("role", "rel")):
                continue
            found = True
            value = node.attrs.pop(name)
            if renamed and name.startswith("data-"):
                node.attrs[f"data-{_digest('data', name, 4).lower()}"] = value
    return found


def _name_all(page: Page) -> None:
    """Give the elements of the records without a class one, so that a naming style covers them."""
    if page.random.random() < 0.5:
        return
    for top in page.tops:
        for node in top.all():
            if "class" not in node.attrs and node.tag not in ("br", "wbr", "tr", "td"):
                path = "-".join(sorted(node.shows)) or node.tag
                node.attrs["class"] = f"{path}-{_depth(node, top)}"


def _depth(node: Element, top: Element) -> int:
    return 0 if node is top else 1 + next(depth for depth, parent in enumerate(node.up()) if parent is top)
