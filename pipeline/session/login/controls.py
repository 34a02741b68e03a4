"""Reads the controls of a form.

Their values, and the attributes of buttons that override attributes of the form.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

from pipeline.session.login.form_owners import OwnedTree

BUTTONS = frozenset({"submit", "image"})
CHOICES = frozenset({"checkbox", "radio"})
_NEVER_SENT = frozenset({"reset", "button"})
_TYPES = frozenset({
    "hidden", "text", "search", "tel", "url", "email", "password", "date", "month", "week", "time", "datetime-local",
    "number", "range", "color", "checkbox", "radio", "file", "submit", "image", "reset", "button"})
_WITH_DIRECTION = frozenset({"hidden", "text", "search", "tel", "url", "email", "password", "textarea"})
_NUMBER = re.compile(r"-?(\d+(\.\d+)?|\.\d+)([eE][+-]?\d+)?")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Control:
    """One control of a form that is not disabled.

    kind: the type of an input or button, or "select" or "textarea"; values: the values that the form sends by default; for a
    checkbox or radio button, the values that the form sends if the control is checked; direction: the further name and value that
    the form sends because of the attribute dirname; overrides: the attributes formaction, formmethod and formenctype of a button.
    """

    kind: str
    name: str
    values: tuple[str, ...]
    checked: bool = False
    direction: tuple[str, str] | None = None
    overrides: tuple[tuple[str, str], ...] = ()
    label: str = ""
    autocomplete: str = ""

    @property
    def value(self) -> str:
        return self.values[0] if self.values else ""


def controls_of(tree: OwnedTree, form: LexborNode) -> list[Control]:
    """Return the controls of a form in tree order, except disabled controls and controls in a datalist."""
    found = [_control(tree, node) for node in tree.controls_of(form)
             if not _disabled(node) and not _inside(node, "datalist")]
    found = [control for control in found if control.kind not in _NEVER_SENT]
    last_checked = {control.name: index for index, control in enumerate(found)
                    if control.kind == "radio" and control.checked}
    return [control if control.kind != "radio" or not control.checked or last_checked[control.name] == index
            else Control("radio", control.name, control.values) for index, control in enumerate(found)]


def attribute(tree: OwnedTree, node: LexborNode, name: str) -> str:
    """Return the value of an attribute; "" if it is missing or empty."""
    return tree.clean(node.attributes.get(name) or "")


def _control(tree: OwnedTree, node: LexborNode) -> Control:
    kind = _kind(tree, node)
    overrides = tuple((name, attribute(tree, node, name)) for name in ("formaction", "formmethod", "formenctype")
                      if name in node.attributes) if kind in BUTTONS else ()
    values = _values(tree, node, kind)
    label = " ".join(filter(None, (tree.clean(node.text(deep=True)) if node.tag == "button" else "",
                                   attribute(tree, node, "value") if kind in BUTTONS else "",
                                   attribute(tree, node, "alt"), attribute(tree, node, "aria-label"))))
    return Control(kind, attribute(tree, node, "name"), values, checked="checked" in node.attributes,
                   direction=_direction(tree, node, kind, values), overrides=overrides, label=label,
                   autocomplete=attribute(tree, node, "autocomplete").lower())


def _kind(tree: OwnedTree, node: LexborNode) -> str:
    if node.tag in ("select", "textarea"):
        return node.tag
    kind = attribute(tree, node, "type").lower()
    if node.tag == "button":
        return kind if kind in ("reset", "button") else "submit"
    return kind if kind in _TYPES else "text"


def _values(tree: OwnedTree, node: LexborNode, kind: str) -> tuple[str, ...]:
    if kind == "select":
        return _selected(tree, node)
    if kind == "textarea":
        return (tree.clean(node.text(deep=True)),)
    raw = attribute(tree, node, "value")
    if kind in CHOICES:
        return (raw if "value" in node.attributes else "on",)
    if kind == "submit" and node.tag == "input" and "value" not in node.attributes:
        return ("Submit",)
    return (_sanitised(raw, kind, node),)


def _sanitised(raw: str, kind: str, node: LexborNode) -> str:
    """Return the value of an input, sanitized for the type of the input (HTML Standard, 4.10.5.1)."""
    if kind in ("text", "search", "tel", "password", "url", "email"):
        value = re.sub(r"[\r\n]", "", raw)
        return value.strip("\t\n\f\r ") if kind in ("url", "email") else value
    if kind == "number":
        return raw if _NUMBER.fullmatch(raw) else ""
    if kind == "color":
        return raw.lower() if _COLOUR.fullmatch(raw) else "#000000"
    if kind == "range" and not _NUMBER.fullmatch(raw):
        low, high = (float(text) if _NUMBER.fullmatch(text := node.attributes.get(name) or "") else default
                     for name, default in (("min", 0.0), ("max", 100.0)))
        return f"{low + max(high - low, 0.0) / 2:g}"
    return "" if kind == "file" else raw


def _selected(tree: OwnedTree, select: LexborNode) -> tuple[str, ...]:
    options = select.css("option")
    chosen = [option for option in options if "selected" in option.attributes]
    if "multiple" not in select.attributes:
        chosen = chosen[-1:]
        if not chosen and (select.attributes.get("size") or "1").strip() in ("0", "1"):
            chosen = [option for option in options if not _option_disabled(option)][:1]
    return tuple(_option_value(tree, option) for option in chosen if not _option_disabled(option))


def _option_disabled(option: LexborNode) -> bool:
    parent = option.parent
    return "disabled" in option.attributes or (
        parent is not None and parent.tag == "optgroup" and "disabled" in parent.attributes)


def _option_value(tree: OwnedTree, option: LexborNode) -> str:
    if "value" in option.attributes:
        return attribute(tree, option, "value")
    return " ".join(tree.clean(option.text(deep=True)).split())


def _direction(tree: OwnedTree, node: LexborNode, kind: str, values: tuple[str, ...]) -> tuple[str, str] | None:
    name = attribute(tree, node, "dirname")
    if not name or kind not in _WITH_DIRECTION:
        return None
    holder: LexborNode | None = node
    while holder is not None and holder.is_element_node:
        wanted = attribute(tree, holder, "dir").lower()
        if wanted in ("ltr", "rtl"):
            return name, wanted
        if wanted == "auto":
            strong = next((mark for char in "".join(values) if (mark := unicodedata.bidirectional(char)) in
                           ("L", "R", "AL")), "L")
            return name, "ltr" if strong == "L" else "rtl"
        holder = holder.parent
    return name, "ltr"


def _disabled(node: LexborNode) -> bool:
    """Return whether a control is disabled (HTML Standard, 4.10.18.5).

    A disabled fieldset disables its controls, except the controls in its first legend.
    """
    if "disabled" in node.attributes:
        return True
    inner: LexborNode = node
    while (outer := inner.parent) is not None:
        if outer.tag == "fieldset" and "disabled" in outer.attributes:
            legend = next((child for child in outer.iter() if child.tag == "legend"), None)
            if legend is None or legend != inner:
                return True
        inner = outer
    return False


def _inside(node: LexborNode, tag: str) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag == tag:
            return True
        parent = parent.parent
    return False
