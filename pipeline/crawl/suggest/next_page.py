"""How a list goes on: the link to its next page, or the parameter that numbers its pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pipeline.crawl.suggest.lists.tree import Element, Tree
from pipeline.crawl.suggest.selectors import is_generated, matches, names_of, quoted, semantic_classes
from pipeline.documents.document import Document

_NEXT_WORDS = frozenset("""next|next page|next »|more|load more|show more|older|older posts|older entries|older »|weiter|nächste|nächste seite|vor|ältere|mehr|
    suivant|suivante|page suivante|siguiente|página siguiente|próximo|próxima|seguinte|successivo|successiva|avanti|pagina successiva|volgende|nästa|
    næste|neste|seuraava|następna|dalej|další|следующая|далее|вперёд|вперед|下一页|下一頁|下页|次へ|次のページ|다음|التالي|הבא|sonraki|tiếp|tiếp theo|
    επόμενη|ถัดไป|următoarea|következő""".replace("\n", "").replace("    ", "").split("|"))
_ARROWS = re.compile("[\\s›»→>\u27e9\u232a▶❯…⇒]+")
_NEXT_NAMES = re.compile(r"(?:^|[-_])(?:next|older|morelink|nextpage|forward)(?:$|[-_])|^next", re.IGNORECASE)
_PAGER = re.compile(r"(?:^|[-_])(?:pagination|pager|paging|paginator|page-?numbers?|page-?nav|pages|pagelinks?|nav-links|wp-pagenavi)(?:$|[-_])", re.IGNORECASE)
_PAGE_PARAM = re.compile(r"(?:page|p|pg|pageno|page_?number|page_?num|pagenum|seite|pagina|paged|start|offset|skip|from|first|begin|startat|start_?index|"
                         r"o|s|pn|pageindex|startrow|firstitem|currentpage|@?:?startwith)\Z", re.IGNORECASE)
_CURSOR_PARAM = re.compile(r"(?:after|before|cursor|next|continue|max_?id|(?:next_?)?page_?(?:token|from)|from_?id|n|count)\Z", re.IGNORECASE)
"""A parameter that says where a page begins, though not with a number of the page."""
_SIMPLE_NAME = re.compile(r"[A-Za-z][\w-]*")
_COUNTED = re.compile(r"[0-9]{1,4}")
_MOST_LINKS = 20_000
_MOST_TRIED = 20


def next_page(tree: Tree, document: Document) -> tuple[dict[str, Any], str]:
    """Return the keys `follow` or `pages` of a spider for the further pages of a list, and why; ({}, "") if there is none."""
    links = [element for element in tree.elements if element.tag == "a" and element.attributes.get("href")][:_MOST_LINKS]
    for element in links:
        if "next" in (element.attributes.get("rel") or "").lower().split() and _goes_on(element, document, loose=True):
            return {"follow": ["a[rel~='next']"]}, "the link to the next page has rel=\"next\""
    further = (element for element in links if _is_next(element) and _goes_on(element, document, loose=_in_pager(element)))
    for element in islice(further, _MOST_TRIED):
        if rule := _selector(element, links, document):
            return {"follow": [rule]}, "a link leads to the next page"
    head = next((node for node in matches(document.lexbor, "link[rel~='next'][href]")), None)
    if head is not None and _is_page_of(document.url, document.absolute(head.attributes.get("href") or "")):
        return {"follow": ["link[rel~='next']"]}, "the page names its next page in <link rel=\"next\">"
    return _numbered(links, document)


def _is_next(element: Element) -> bool:
    attributes = element.attributes
    text = element.whole_text.casefold() if element.length < 40 else ""
    if text and (_ARROWS.sub(" ", text).strip() in _NEXT_WORDS):
        return True
    for name in ("aria-label", "title"):
        if (attributes.get(name) or "").strip().casefold() in _NEXT_WORDS:
            return True
    if text and _ARROWS.fullmatch(text) and text not in ("…", ">>", "»»") and (
            _in_pager(element) or any(above.tag == "nav" for above in islice(element.ancestors(), 4))):
        return True
    own = [*element.classes, attributes.get("id") or ""]
    above = [*element.parent.classes] if element.parent is not None and element.parent.links == 1 else []
    return any(_NEXT_NAMES.search(name) for name in [*own, *above]) and element.length < 40


def _in_pager(element: Element) -> bool:
    above = islice(element.ancestors(), 4)
    return any(_PAGER.search(name) for one in [element, *above] for name in [*one.classes, one.attributes.get("id") or ""]) or any(
        "pag" in (one.attributes.get("aria-label") or "").casefold() for one in above)


def _goes_on(element: Element, document: Document, *, loose: bool) -> bool:
    """Return whether a link leads to another page of the same list; loose: whether any other page of the same host will do."""
    url = document.absolute(element.attributes.get("href") or "")
    if not url or url.partition("#")[0] == document.url.partition("#")[0]:
        return False
    if urlsplit(url).netloc != urlsplit(document.url).netloc:
        return False
    return loose or (_is_page_of(document.url, url) and _changes_page(document.url, url))


def _changes_page(url: str, other: str) -> bool:
    """Return whether two URLs of one path differ in a parameter of the page, and in no other parameter that both have."""
    one, two = urlsplit(url), urlsplit(other)
    base, query = dict(parse_qsl(one.query)), dict(parse_qsl(two.query))
    changed = {name for name in query if query[name] != base.get(name)}
    of_page = {name for name in changed if _PAGE_PARAM.match(name) or _CURSOR_PARAM.match(name)}
    return one.path != two.path or (bool(of_page) and not (changed - of_page) & base.keys())


def _is_page_of(url: str, other: str) -> bool:
    """Return whether two URLs look like two pages of one list: they differ in the query, or in a number."""
    one, two = urlsplit(url), urlsplit(other)
    if not other or one.netloc != two.netloc:
        return False
    if one.path == two.path:
        return one.query != two.query

    def stem(path: str) -> str:
        without_ending = re.sub(r"\.\w{2,5}$", "", path)
        return re.sub(r"(?:index|page|seite|p)?[-_/]?\d+|index$|page", "", without_ending, flags=re.IGNORECASE).strip("/").replace("//", "/")

    return stem(one.path) == stem(two.path) or (re.search(r"\d", two.path) is not None and two.path.startswith(one.path.rpartition("/")[0])
                                                and "page" in two.path.lower())


def _selector(element: Element, links: Iterable[Element], document: Document) -> str:
    """Return a rule that matches this link only, or other links to the same page; "" if there is none."""
    url = document.absolute(element.attributes.get("href") or "")
    own = [f"a{name}" for name in (f".{one}" for one in semantic_classes(element.classes)) if _NEXT_NAMES.search(name.removeprefix("."))]
    own_id = element.attributes.get("id") or ""
    if own_id and not is_generated(own_id) and _NEXT_NAMES.search(own_id):
        own.insert(0, f"a#{own_id}")
    parent = element.parent
    if parent is not None:
        own += [f"{parent.tag}.{name} a" for name in (*semantic_classes(parent.classes), *parent.classes)
                if _NEXT_NAMES.search(name) and _SIMPLE_NAME.fullmatch(name)]
        if (parent_id := parent.attributes.get("id") or "") and not is_generated(parent_id):
            own.append(f"#{parent_id} a")
    own += [f"a[{name}={quoted(value)}]" for name in ("aria-label", "title") if (value := element.attributes.get(name))]
    own += [name for name in names_of(element.node)[:-1] if not name.startswith("[itemprop")]
    if parent is not None:
        own += [f"{name} > a" for name in names_of(parent.node)[:-1]]
    for css in own:
        found = matches(document.lexbor, css)
        if found and len(found) <= 4 and all(document.absolute(node.attributes.get("href") or "") == url for node in found):
            return css
    text = element.whole_text
    quote = "'" if "'" not in text else '"'
    same = (one for one in links if one.length == element.length and one.whole_text == text)
    if not text or quote in text or not text.isprintable() or any(
            document.absolute(one.attributes.get("href") or "") != url for one in same):
        return ""
    return f"//a[normalize-space()={quote}{text}{quote}]"


def _numbered(links: Iterable[Element], document: Document) -> tuple[dict[str, Any], str]:
    """Return the parameter that numbers the pages, if several links differ in nothing but its number; else the links of the pager."""
    here = urlsplit(document.url)
    base = dict(parse_qsl(here.query))
    values: dict[str, set[int]] = {}
    labels: dict[str, set[int]] = {}
    in_pager: list[Element] = []
    numbered: list[Element] = []
    for element in links:
        is_pager, label = _in_pager(element), element.whole_text
        url = document.absolute(element.attributes.get("href") or "") if is_pager or label.isdigit() else ""
        if not url or urlsplit(url).netloc != here.netloc:
            continue
        if (number := _page_number(url, here.path, base)) is not None:
            values.setdefault(number[0], set()).add(number[1])
            if re.fullmatch(r"\d{1,8}", label, re.ASCII):
                labels.setdefault(number[0], set()).add(number[1] - int(label))
        elif is_pager and _COUNTED.fullmatch(label.strip("[]() .")) and _is_page_of(document.url, url):
            in_pager.append(element)
        elif _COUNTED.fullmatch(label) and _is_page_of(document.url, url) and re.search(rf"(?<!\d){label}(?!.*\d)", urlsplit(url).path):
            numbered.append(element)
    for name, found in values.items():
        own = {int(base[name])} if re.fullmatch(r"\d{1,8}", base.get(name, ""), re.ASCII) else set()
        if pages := _pages(name, found | own, from_zero=0 in found | own or labels.get(name) == {-1}):
            return {"pages": pages}, f"links number the pages with the parameter {name}"
    follow = _pager_rule(in_pager, document) if in_pager else _numbers_rule(numbered, document)
    return ({"follow": [follow]}, "links lead to the further pages") if follow else ({}, "")


def _pager_rule(in_pager: Sequence[Element], document: Document) -> str:
    """Return a rule for the links of a pager; "" if it has no usable name."""
    for above in islice(in_pager[0].ancestors(), 4):
        raw = [f".{name}" for name in above.classes if _SIMPLE_NAME.fullmatch(name) and not is_generated(name)]  # also md-pagination
        for name in dict.fromkeys([*names_of(above.node)[:-1], *raw]):
            if _PAGER.search(name.strip(".")) and matches(document.lexbor, f"{name} a"):
                return f"{name} a"
    return ""


def _numbers_rule(numbered: Sequence[Element], document: Document) -> str:
    """Return a rule for links beside each other whose texts count pages from 1 or 2, and whose URLs have the same number; "" if none.

    numbered: links to pages of the list, whose texts are numbers.
    """
    labels = [int(element.whole_text) for element in numbered]
    near = {above.at for element in numbered for above in islice(element.ancestors(), 2)}
    if not numbered or labels[0] not in (1, 2) or 2 not in labels or labels != sorted(set(labels)) or len(near) > len(numbered) + 2:
        return ""
    pages = {document.absolute(element.attributes.get("href") or "") for element in numbered}
    names = [name for above in islice(numbered[0].ancestors(), 2) for name in names_of(above.node)[:-1]]
    hrefs = [re.split(r"(\d+)(?!.*\d)", element.attributes.get("href") or "")[0] for element in numbered if element.whole_text != "1"]
    stem = hrefs[0].rpartition("/")[2] or "/".join(hrefs[0].split("/")[-2:])
    parts = [f"a[href*={quoted(stem)}]"] if len(stem) >= 4 and len(set(hrefs)) == 1 else []
    for css in [*(f"{name} a" for name in names), *parts]:
        found = {document.absolute(node.attributes.get("href") or "") for node in matches(document.lexbor, css)}
        if pages <= found | {document.url} and all(url in pages or _is_page_of(document.url, url) for url in found):
            return css
    return ""


def _page_number(url: str, path: str, base: dict[str, str]) -> tuple[str, int] | None:
    """Return the parameter of a link that alone differs from the page's own URL, and its number."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    changed = [name for name in query if query[name] != base.get(name)]
    if parts.path != path or len(changed) != 1 or not _PAGE_PARAM.match(changed[0]) or not re.fullmatch(r"\d{1,8}", query[changed[0]], re.ASCII):
        return None
    return changed[0], int(query[changed[0]])


def _pages(name: str, found: set[int], *, from_zero: bool) -> dict[str, Any]:
    """Return the table `pages` for the numbers in the links: page numbers, or offsets with a step.

    from_zero: whether the first page has the number 0.
    """
    numbers = sorted(found)
    step = min((later - one for one, later in pairwise(numbers)), default=numbers[0])
    if numbers[0] in (1, 2) or 1 in numbers:  # page 2, and perhaps the last one
        step = 1
    if step <= 0:
        return {}
    pages: dict[str, Any] = {"param": name}
    if step > 1 or from_zero:
        pages["first"] = 0
    if step > 1:
        pages["step"] = step
    return pages
