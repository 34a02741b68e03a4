"""Finds the forms of a page, chooses the login form, and fills it in (HTML Standard, 4.10.22)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from selectolax.lexbor import LexborNode

from pipeline.session.login.controls import BUTTONS, CHOICES, Control, attribute, controls_of
from pipeline.session.login.form_owners import CONTROLS, OwnedTree
from pipeline.session.login.submission import (
    MULTIPART,
    PLAIN,
    URLENCODED,
    Entry,
    Submission,
    encoding_name,
    output_encoding,
    submission,
)
from pipeline.session.page import Page
from pipeline.urls import absolute

LOGIN_WORDS = re.compile(
    r"log.?[io]n|sign.?in|session|authent|anmeld|einlogg|connexion|connecter|identifi|iniciar|acceder|entrar|accedi|inlogg"
    r"|logga|logg inn|zaloguj|přihl|giri[sş]|belép|kirjaudu|войти|вход|увійти|σύνδεση|ログイン|サインイン|登录|登入|로그인"
    r"|تسجيل الدخول|התחבר", re.IGNORECASE)
OTHER_WORDS = re.compile(
    r"regist|sign.?up|join|creat|new.?(user|account|member)|subscri|newsletter|forgot|reset|recover|lost|konto (er|an)"
    r"|neues? konto|vergessen|inscri|oubli|crear|olvid|recuper|cadastr|criar|esquec|iscri|dimentic|opret|skapa|zarejestr"
    r"|kayıt|üye ol|rekisterö|зарегистр|регистр|забыл|εγγραφή|新規|会員登録|注册|註冊|忘记|회원가입|إنشاء|הרשמ", re.IGNORECASE)
_HEADINGS = "legend, h1, h2, h3, h4, h5, h6"
_TYPED = frozenset({"text", "email", "tel", "password", "url", "number", "date", "textarea"})


@dataclass(frozen=True)
class Form:
    """One form of a page.

    url, encoding: the URL and the encoding of the page; base: the base URL of the form's action; method: GET, POST or DIALOG;
    controls: the controls in tree order, including buttons; marks: the words in the form's attributes and headings, by which a
    login form is recognized.
    """

    element: LexborNode = field(repr=False)
    url: str
    base: str
    action: str
    method: str
    enctype: str
    accept_charset: str
    encoding: str
    controls: tuple[Control, ...] = field(repr=False)
    marks: str = field(default="", repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the controls, without duplicates."""
        return tuple(dict.fromkeys(control.name for control in self.controls if control.name))

    @property
    def has_password(self) -> bool:
        return any(control.kind == "password" for control in self.controls)

    def submission(self, values: Mapping[str, str]) -> Submission:
        """Fill in the form with `values`, and return the request that sends it.

        values: the value of each control by name. A value selects the radio button or checks the checkbox with the same value; ""
        unchecks a checkbox. The form is sent with the button named in `values`, by default with the first button; if several
        buttons have the name, the value decides. Names without a control are added at the end. Raises ValueError if the form's
        action is not an http(s) URL.
        """
        button = self._button(values)
        asked = dict(button.overrides) if button is not None else {}
        action = asked.get("formaction", self.action)
        encoding = output_encoding(self.accept_charset, self.encoding)
        entries = [entry for control in self.controls for entry in self._entries(control, button, values, encoding)]
        present = {entry.name for entry in entries} | self._settled(values)
        entries += [Entry(name, value) for name, value in values.items() if name not in present]
        target = absolute(action, self.base, self.encoding) if action else self.url
        if not target:
            raise ValueError(action)
        return submission(
            entries, action=target, encoding=encoding,
            method=_method(asked["formmethod"]) if "formmethod" in asked else self.method,
            enctype=_enctype(asked["formenctype"]) if "formenctype" in asked else self.enctype)

    def _button(self, values: Mapping[str, str]) -> Control | None:
        buttons = [control for control in self.controls if control.kind in BUTTONS]
        named = [button for button in buttons if button.name and (
            button.name in values or (button.kind == "image" and f"{button.name}.x" in values))]
        exact = [button for button in named if button.value == values.get(button.name)]
        return next(iter((*exact, *named, *buttons)), None)

    def _entries(self, control: Control, button: Control | None, values: Mapping[str, str],
                 encoding: str) -> list[Entry]:
        """Return the entries that one control adds to the request."""
        name = control.name
        if control.kind in BUTTONS:
            if control is not button:
                return []
            if control.kind == "image":
                dot = f"{name}." if name else ""
                return [Entry(f"{dot}{axis}", values.get(f"{dot}{axis}", "1")) for axis in "xy"]
            return [Entry(name, values.get(name, control.value))] if name else []
        if not name:
            return []
        if control.kind in CHOICES:
            on = values[name] == control.value if name in values else control.checked
            return [Entry(name, control.value)] if on else []
        if control.kind == "file":
            return [Entry(name, values.get(name, ""), is_file=name not in values)]
        if control.kind == "hidden" and name.lower() == "_charset_":
            return [Entry(name, encoding_name(encoding))]
        if name in values and not (control.kind == "hidden" and self._offers_choice(name)):
            found = [Entry(name, values[name])]
        else:
            found = [Entry(name, value) for value in control.values]
        return found + ([Entry(*control.direction)] if control.direction else [])

    def _offers_choice(self, name: str) -> bool:
        return any(control.kind in CHOICES and control.name == name for control in self.controls)

    def _settled(self, values: Mapping[str, str]) -> set[str]:
        """Return the names in `values` for which no further entry is added: unchecked checkboxes and image buttons."""
        return {control.name for control in self.controls if control.name in values and (
            control.kind == "image" or (control.kind == "checkbox" and values[control.name] == ""))}


def forms_of(page: Page) -> list[Form]:
    """Return all forms of a page in order, except those in templates."""
    tree = OwnedTree(page.text)
    return [_read_form(tree, element, page) for element in tree.forms]


def frames_of(page: Page) -> list[str]:
    """Return the http(s) URLs of a page's frames, without duplicates."""
    found = [page.document.absolute(node.attributes.get("src") or "")
             for node in page.document.lexbor.css("iframe[src], frame[src]") if not _inside_noscript(node)]
    return [url for url in dict.fromkeys(found) if url and url != page.answer.url]


def _inside_noscript(node: LexborNode) -> bool:
    found: LexborNode | None = node
    while found is not None and found.tag != "noscript":
        found = found.parent
    return found is not None


def choose_form(page: Page, names: Iterable[str], css: str | None, *,
                is_trusted: Callable[[str], bool] = lambda url: True) -> Form | None:
    """Return the form of a page with which to log in; None if the page has no such form.

    names: the field names of the login; css: a selector of the form, of an element inside the form, or of a control that belongs
    to the form; is_trusted: a function that returns whether a URL may receive the password. Without css, the form that has the
    largest number of the fields in `names` is chosen. Among several such forms, forms with a trusted action are preferred, then
    the forms that look most like a login form, then the first form. Raises SelectolaxError for an invalid selector.
    """
    tree = OwnedTree(page.text)
    if css is not None:
        for match in tree.root.css(css):
            owner = tree.owner_of(match) if match.tag in CONTROLS else _form_at(match)
            if owner is not None:
                return _read_form(tree, owner, page)
        return None
    wanted = frozenset(names)
    forms = [_read_form(tree, element, page) for element in tree.forms]
    best = max(forms, key=lambda form: (len(wanted & set(form.names)), is_trusted(absolute(form.action, form.base) if form.action else form.url),
                                            _likeness(form, wanted)), default=None)
    return best if best is not None and wanted & set(best.names) else None


def _likeness(form: Form, wanted: frozenset[str]) -> int:
    """Return a score for how much a form looks like a login form.

    Registration, search and password reset forms have a lower score.
    """
    passwords = [control for control in form.controls if control.kind == "password"]
    points = 3 if len(passwords) == 1 else -3 if passwords else 0
    points += 4 * any("current-password" in control.autocomplete for control in passwords)
    points -= 4 * any("new-password" in control.autocomplete for control in form.controls)
    points -= min(3, sum(control.kind in _TYPED and not control.value and control.name not in wanted
                         for control in form.controls))
    labels = " ".join(control.label for control in form.controls if control.kind in BUTTONS)
    for text, weight in ((form.action, 2), (labels, 2), (form.marks, 1)):
        points += weight * ((LOGIN_WORDS.search(text) is not None) - (OTHER_WORDS.search(text) is not None))
    return points


def _read_form(tree: OwnedTree, element: LexborNode, page: Page) -> Form:
    marks = [attribute(tree, element, name) for name in ("id", "name", "class", "aria-label")]
    marks += [tree.clean(node.text(deep=True)) for node in element.css(_HEADINGS)]
    return Form(
        element=element, url=page.answer.url, base=page.document.base,
        action=attribute(tree, element, "action").strip("\t\n\f\r "), method=_method(attribute(tree, element, "method")),
        enctype=_enctype(attribute(tree, element, "enctype")), accept_charset=attribute(tree, element, "accept-charset"),
        encoding=page.encoding, controls=tuple(controls_of(tree, element)), marks=" ".join(marks))


def _form_at(node: LexborNode) -> LexborNode | None:
    found: LexborNode | None = node
    while found is not None and found.tag != "form":
        found = found.parent
    return found


def _method(value: str) -> str:
    return value.upper() if value.lower() in ("post", "dialog") else "GET"


def _enctype(value: str) -> str:
    return value.lower() if value.lower() in (MULTIPART, PLAIN) else URLENCODED
