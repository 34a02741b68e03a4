"""Operations on the elements that contain the records and their fields."""

from __future__ import annotations

from tests.redesigns.page import Page
from tests.redesigns.registry import operation
from tests.redesigns.tree import Element

WRAPPERS = ("div", "div", "div", "section", "span", "x-wrap")
_FIXED = frozenset(["tr", "td", "th", "tbody", "thead", "table", "li", "dt", "dd", "option"])
_PHRASING = frozenset(["a", "span", "b", "strong", "em", "i", "small", "time", "h1", "h2", "h3", "h4", "h5", "p", "pre", "dt"])


def _can_wrap(node: Element, tag: str) -> bool:
    """Whether an element may be put into another one of this tag where it is."""
    parent = node.parent
    return (parent is not None and node.tag not in _FIXED and parent.tag not in ("tr", "tbody", "table", "ul", "ol", "dl", "html")
            and (tag == "span" or not any(up.tag in _PHRASING for up in node.up())) and not (tag == "span" and node.tag not in _PHRASING))


@operation("structure", weight=2)
def wrap_fields(page: Page) -> bool:
    """The elements of fields get 1 to 3 wrappers each."""
    levels = {name: [(page.random.choice(WRAPPERS), f"{name}-wrap{level}") for level in range(page.random.randint(1, 3))]
              for name in page.kinds if page.random.random() < 0.7}
    found = False
    for _, fields in page.all_places():
        for name, wrappers in levels.items():
            node = fields[name][0] if name in fields else None
            if node is None or node.record is not None:
                continue
            for tag, classes in wrappers:
                tag = tag if _can_wrap(node, tag) else "span"  # noqa: PLW2901
                if _can_wrap(node, tag):
                    node.wrap(Element(tag, classes))
                    found = True
    return found


@operation("structure", weight=2)
def wrap_records(page: Page) -> bool:
    """Each record gets 1 to 4 wrappers around it, or around what is in it."""
    wrappers = [(page.random.choice(("div", "div", "article", "section", "x-card")), f"record-wrap{level}") for level in range(page.random.randint(1, 4))]
    inside = page.random.random() < 0.4
    found = False
    for nodes in page.records.values():
        if len(nodes) > 1:
            return False
        top = nodes[0]
        for tag, classes in wrappers:
            if inside and top.tag not in ("tr", "a", "p", "dl", "ul", "ol", "h2", "h3", "dt"):
                wrapper = Element(tag, classes)
                wrapper_children, top.children = top.children, []
                wrapper.become(wrapper_children)
                top.append(wrapper)
                found = True
            elif not inside and _can_wrap(top, tag):
                wrapper = Element(tag, classes)
                top.wrap(wrapper)
                top.record, wrapper.record = None, top.record
                top = wrapper
                found = True
    return found


@operation("structure", weight=1.5)
def wrap_list(page: Page) -> bool:
    """The list gets 1 to 4 wrappers, the body a new frame."""
    around = page.around
    node = next((up for up in (around, *around.up()) if up.tag not in ("tbody", "tr", "body", "html", "thead")), None)
    if node is None or not _can_wrap(node, "div"):
        node = None
    for level in range(page.random.randint(1, 4)):
        wrapper = Element(page.random.choice(("div", "main", "section", "div")), f"list-frame{level}")
        if node is not None:
            node.wrap(wrapper)
        else:
            wrapper_children, page.body.children = page.body.children, []
            wrapper.become(wrapper_children)
            page.body.append(wrapper)
    return True


@operation("structure")
def remove_wrappers(page: Page) -> bool:
    """Elements in the records that have only one element in them, and show no field, go."""
    found = False
    for top in page.tops:
        for node in list(top.all()):
            if (node is not top and not node.shows and node.tag in ("div", "span", "p", "section", "strong", "b", "h3", "em") and len(node.elements) == 1
                    and node.line == node.elements[0].line):
                node.unwrap()
                found = True
    return found


@operation("structure", weight=2)
def change_tags(page: Page) -> bool:
    """Elements get other tags: h3 to h2, div to section, ul/li to div or to custom elements."""
    heading = page.random.choice(("h2", "h4", "div", "h5"))
    box = page.random.choice(("section", "article", "x-box", "div"))
    inline = page.random.choice(("small", "em", "i", "x-text", "b"))
    item, outer = page.random.choice((("div", "div"), ("x-item", "x-list"), ("article", "section")))
    found = False
    for top in page.tops:
        for node in top.all():
            new = {"h1": heading, "h2": heading, "h3": heading, "h4": heading, "div": box, "article": box, "span": inline, "strong": inline}.get(node.tag)
            if new and not (box != "div" and any(up.tag in _PHRASING for up in node.up())):
                found = found or new != node.tag
                node.tag = new
    parents = {id(top.parent): top.parent for top in page.tops}
    for parent in parents.values():
        if parent is not None and parent.tag in ("ul", "ol") and not any(up.tag in _PHRASING for up in parent.up()):
            parent.tag = outer
            for child in parent.elements:
                child.tag = item if child.tag == "li" else child.tag
            found = True
    return found


@operation("structure", weight=2)
def reorder_fields(page: Page) -> bool:
    """The parts of each record come in another order, the same for all records."""
    order = {str(number): page.random.random() for number in range(40)}
    mode = page.random.choice(("reverse", "random"))
    found = False
    for top in page.tops:
        holder = max(top.all(), key=lambda node: sum(1 for child in node.elements if child.tag not in ("br", "wbr")))
        parts = holder.elements
        if len(parts) < 2 or holder.tag in ("tr", "pre", "ul"):
            continue
        turned = parts[::-1] if mode == "reverse" else sorted(parts, key=lambda part: order[str(parts.index(part) % 40)])
        places = [at for at, child in enumerate(holder.children) if isinstance(child, Element)]
        for at, part in zip(places, turned, strict=True):
            holder.children[at] = part
        found = found or turned != parts
    return found


@operation("structure", weight=1.5)
def change_columns(page: Page) -> bool:
    """Columns of a table are reordered and added; it gets a row of headings, or another one."""
    rows = page.tops
    if any(row.tag != "tr" for row in rows):
        return False
    width = min(len(row.elements) for row in rows)
    order = list(range(width))
    page.random.shuffle(order)
    extra = page.random.choice(("number", "box", "action", "none"))
    for place, row in enumerate(rows):
        cells = [cell for cell in row.elements if cell.tag in ("td", "th")]
        kept = [cells[at] for at in order] + cells[width:]
        if extra == "number":
            kept.insert(0, Element("td", "no", str(place + 1)))
        elif extra == "box":
            kept.insert(0, Element("td", "", Element("input", type="checkbox", name=f"row{place}")))
        elif extra == "action":
            kept.append(Element("td", "", Element("a", "btn", "Details", href="#"), Element("button", "", "Add")))
        row.become([part for cell in kept for part in (cell, "\n")])
    table = next((up for up in page.around.up() if up.tag == "table"), page.around)
    if table.tag == "table":
        for row in [node for node in table.all() if node.tag == "tr" and node.elements and all(cell.tag == "th" for cell in node.elements)]:
            row.remove()
        head = Element("thead", "", Element("tr", "", *(Element("th", "", f"Column {at + 1}") for at in range(len(rows[0].elements)))))
        table.insert(0, head)
    return True


@operation("structure", weight=0.5)
def drop_a_field(page: Page) -> bool:
    """One field, other than title and link and key, is not shown any more."""
    names = [name for name in page.kinds if name not in (page.title, page.link, *page.key)]
    if not names:
        return False
    name = page.random.choice(names)
    for record, fields in list(page.all_places()):
        node, where = fields.get(name, (None, ""))
        if node is not None and node.parent is not None and len([shown for child in node.all() for shown in child.shows]) == 1:
            if node.tag in ("td", "dd", "li") or node.record is not None or where != "text":
                node.become([] if where == "text" else list(node.children))
                node.attrs.pop(where, None)
                del node.shows[name]
            else:
                node.remove()
            page.rows[record] = {field: value for field, value in page.rows[record].items() if field != name}
    return True


@operation("structure")
def group_records(page: Page) -> bool:
    """The records are in several containers, each with a heading."""
    tops = page.tops
    parent = tops[0].parent
    if parent is None or any(top.parent is not parent for top in tops) or len(tops) != len(page.records) or len(tops) < 6:
        return False
    size = page.random.randint(3, max(3, len(tops) // 2))
    if parent.tag == "tbody" and parent.parent is not None:
        home: Element = parent.parent
        made = [Element("tbody", "group", Element("tr", "group-head", Element("th", "", f"Section {at // size + 1}", colspan=str(len(tops[0].elements)))))
                for at in range(0, len(tops), size)]
    elif parent.tag in ("ul", "ol") and parent.parent is not None and not any(up.tag in _PHRASING for up in parent.up()):
        home = parent.parent
        made = [Element(parent.tag, parent.attrs.get("class") or "") for _ in range(0, len(tops), size)]
    elif parent.tag in ("div", "section", "main", "article", "body", "x-list"):
        home = parent
        made = [Element("section", "group") for _ in range(0, len(tops), size)]
    else:
        return False
    mark = parent if home is not parent else tops[0]
    for at, box in enumerate(made):
        if box.tag in ("ul", "ol", "section"):
            mark.before(Element("h2", "group-title", f"Section {at + 1}"))
        mark.before(box)
    for at, top in enumerate(tops):
        top.remove()
        made[at // size].append(top)
        made[at // size].append("\n")
    if home is not parent and not parent.line:
        parent.remove()
    return True
