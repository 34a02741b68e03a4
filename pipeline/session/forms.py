"""Forms of a page, filled in and encoded as a browser would (HTML standard, 4.10.21)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from lxml.cssselect import CSSSelector  # type: ignore[import-untyped]
from lxml.html import HtmlElement  # type: ignore[import-untyped]
from urllib3.filepost import encode_multipart_formdata

_BUTTONS = {"submit", "image"}
_NEVER_SENT = {"reset", "button", "file"}


@dataclass(frozen=True)
class Submission:
    """What to send for a filled form."""

    method: str
    url: str
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""


@dataclass(frozen=True)
class Form:
    """One form. fields: name and value of every control as the page has them, in order, without buttons.

    button: name and value of the first submit button, None when it has no name.
    """

    element: HtmlElement = field(repr=False)
    action: str
    method: str
    enctype: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)
    button: tuple[str, str] | None
    has_password: bool
    controls: tuple[str, ...]

    def submission(self, values: Mapping[str, str], encoding: str) -> Submission:
        """The form with `values` in place of the page's own; unknown names are added at the end."""
        filled = [(name, values.get(name, value)) for name, value in self.fields]
        present = {name for name, _ in filled}
        filled += [(name, value) for name, value in values.items() if name not in present]
        if self.button is not None and self.button[0] not in values:
            filled.append(self.button)
        filled = [(name, _crlf(value)) for name, value in filled]
        if self.method == "GET":
            query = urlencode(filled, encoding=encoding, errors="xmlcharrefreplace")
            return Submission("GET", urlunsplit(urlsplit(self.action)._replace(query=query)))
        if self.enctype == "multipart/form-data":
            body, content_type = encode_multipart_formdata(
                [(name, value.encode(encoding, "xmlcharrefreplace")) for name, value in filled])
            return Submission("POST", self.action, body, content_type)
        text = urlencode(filled, encoding=encoding, errors="xmlcharrefreplace")
        return Submission("POST", self.action, text.encode("ascii"), "application/x-www-form-urlencoded")


def forms_of(document: HtmlElement, url: str) -> list[Form]:
    """Every form of the page at `url`, in order."""
    base = next((urljoin(url, href) for href in document.xpath("//base/@href")), url)
    return [_read_form(element, url, base) for element in document.iter("form")]


def choose_form(forms: list[Form], names: Iterable[str], css: str | None) -> Form | None:
    """The form to log in with: the one `css` picks (or is in), else the one with most of the named fields.

    Of equals the one with a password field, then the first. None when nothing fits: not one of the names is in it.
    Raises cssselect.SelectorError.
    """
    if css is not None:
        if not forms:
            return None
        matches = CSSSelector(css, translator="html")(forms[0].element.getroottree())
        picked = [element for match in matches for element in match.xpath("ancestor-or-self::form")]
        return next((form for element in picked for form in forms if form.element is element), None)
    wanted = set(names)
    best = max(forms, key=lambda form: (len(wanted & set(form.controls)), form.has_password), default=None)
    return best if best is not None and wanted & set(best.controls) else None


def _read_form(element: HtmlElement, url: str, base: str) -> Form:
    controls = [control for control in _controls(element) if not _disabled(control)]
    fields: list[tuple[str, str]] = []
    button: HtmlElement | None = None
    for control in controls:
        if _kind(control) in _BUTTONS:
            button = control if button is None else button
        else:
            fields += _values(control)
    action = _attribute(button, "formaction") or (element.get("action") or "").strip()
    method = _attribute(button, "formmethod") or element.get("method") or "get"
    target = urlsplit(urljoin(base, action) if action else url)
    return Form(
        element=element, action=urlunsplit(target._replace(fragment="")), method=_method(method),
        enctype=(element.get("enctype") or "").strip().lower(), fields=tuple(fields), button=_button_value(button),
        has_password=any(_kind(control) == "password" for control in controls),
        controls=tuple(dict.fromkeys(name for control in controls if (name := control.get("name")))))


def _controls(form: HtmlElement) -> list[HtmlElement]:
    """Those inside without another owner, and those elsewhere that name this form."""
    identity = form.get("id")
    found = form.getroottree().xpath("//input|//select|//textarea|//button")
    return [control for control in found
            if (control.get("form") == identity if control.get("form") is not None
                else next(control.iterancestors("form"), None) is form)]


def _disabled(control: HtmlElement) -> bool:
    if control.get("disabled") is not None:
        return True
    return any(fieldset.get("disabled") is not None for fieldset in control.iterancestors("fieldset"))


def _kind(control: HtmlElement) -> str:
    if control.tag == "button":
        return (control.get("type") or "submit").lower()
    return (control.get("type") or "text").strip().lower() if control.tag == "input" else str(control.tag)


def _values(control: HtmlElement) -> list[tuple[str, str]]:
    name, kind = control.get("name"), _kind(control)
    if not name or kind in _NEVER_SENT:
        return []
    if kind in ("checkbox", "radio"):
        return [(name, control.get("value", "on"))] if control.get("checked") is not None else []
    if kind == "select":
        return [(name, value) for value in _selected(control)]
    if kind == "textarea":
        return [(name, re.sub(r"\A\r?\n", "", control.text or ""))]
    return [(name, control.get("value", ""))]


def _selected(select: HtmlElement) -> list[str]:
    options = [option for option in select.iter("option") if option.get("disabled") is None]
    chosen = [option for option in options if option.get("selected") is not None]
    if select.get("multiple") is None:
        chosen = chosen[-1:] or options[:1]
    return [option.get("value", " ".join((option.text_content() or "").split())) for option in chosen]


def _button_value(button: HtmlElement | None) -> tuple[str, str] | None:
    if button is None or not (name := button.get("name")):
        return None
    return (f"{name}.x", "1") if _kind(button) == "image" else (name, button.get("value", ""))


def _attribute(element: HtmlElement | None, name: str) -> str:
    return "" if element is None else (element.get(name) or "").strip()


def _method(method: str) -> str:
    return "POST" if method.strip().upper() == "POST" else "GET"


def _crlf(value: str) -> str:
    return re.sub(r"\r\n|\r|\n", "\r\n", value)
