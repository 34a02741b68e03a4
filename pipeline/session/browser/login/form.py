"""Finds a login form on a page as people see it, fills it in, and submits it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from playwright.async_api import ElementHandle, Error, Frame, Page
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

_FIND = (files(__package__) / "form.js").read_text("utf-8")
_MOST_FRAMES = 20
_CLICK_S = 5.0
"""How long a click waits until the button can be clicked, before the form is submitted with the Enter key."""
_CHECK = """(element, on) => { if (element.checked !== on) element.click(); }"""
_CHOOSE = """(element, value) => {
  const group = element.name ? [...element.getRootNode().querySelectorAll(`input[type=radio][name="${CSS.escape(element.name)}"]`)] : [element];
  (group.find(each => each.value === value) || element).click();
}"""
_SET = """(element, value) => {
  element.value = value;
  for (const name of ["input", "change"]) element.dispatchEvent(new Event(name, {bubbles: true}));
}"""


@dataclass(frozen=True)
class FormWords:
    """Regular expressions, as JavaScript writes them, that tell the button of a login from other buttons."""

    login: str
    other: str


@dataclass(frozen=True)
class FoundForm:
    """The form of a login step on a page, or what there is of it.

    kinds: the kind of the control for each name: text, digit (a field for one digit of a code), select, checkbox, radio, button,
    hidden, unseen (not visible yet), or "" if there is none. known: the names of the controls that were found. submit: the button.
    """

    frame: Frame
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    known: tuple[str, ...]
    can_submit: bool
    fields: tuple[ElementHandle | None, ...] = field(repr=False)
    submit: ElementHandle | None = field(repr=False)

    @property
    def is_complete(self) -> bool:
        """Whether all fields can be filled in; for a step without fields, whether there is a button."""
        return all(kind not in ("", "unseen") for kind in self.kinds) and bool(self.names or self.can_submit)

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name, kind in zip(self.names, self.kinds, strict=True) if kind in ("", "unseen"))

    @property
    def found(self) -> int:
        return len(self.names) - len(self.missing)


async def find_form(page: Page, names: Sequence[str], form: str | None, words: FormWords) -> FoundForm:
    """Return the form of a page, or of one of its frames, that has the most of the fields.

    names: the fields, by name, id, autocomplete, label or placeholder; form: a selector of the form, of an element inside it or of its
    button. Raises Playwright's Error if the page goes away meanwhile or the selector is not valid.
    """
    best: FoundForm | None = None
    for frame in page.frames[:_MOST_FRAMES]:
        if frame is not page.main_frame and not frame.url.startswith(("http:", "https:", "about:")):
            continue
        try:
            found = await _find_in(frame, tuple(names), form, words)
        except Error:
            if frame is page.main_frame:
                raise
            continue  # a frame that goes away
        if best is None or (found.is_complete, found.found) > (best.is_complete, best.found):
            best = found
        if best.is_complete:
            break
    assert best is not None
    return best


async def _find_in(frame: Frame, names: tuple[str, ...], form: str | None, words: FormWords) -> FoundForm:
    handle = await frame.evaluate_handle(_FIND, {"names": list(names), "form": form, "login": words.login, "other": words.other})
    try:
        told: Any = await handle.evaluate("found => ({kinds: found.kinds, known: found.known, submit: !!found.submit})")
        kinds = tuple(map(str, told["kinds"])) or ("",) * len(names)
        fields: list[ElementHandle | None] = []
        submit = None
        if any(kinds) or (told["submit"] and not names):
            listed = await handle.get_property("fields")
            fields = [(await listed.get_property(str(at))).as_element() if kind else None for at, kind in enumerate(kinds)]
            submit = (await handle.get_property("submit")).as_element()
        return FoundForm(frame, names, kinds, tuple(map(str, told["known"])), bool(told["submit"]), tuple(fields), submit)
    finally:
        await handle.dispose()


class NotFilledError(Exception):
    """A field of the form cannot be filled in."""


async def fill_in(page: Page, found: FoundForm, values: Mapping[str, str], form: str | None, words: FormWords, *, timeout_s: float) -> FoundForm:
    """Fill in the fields of a form, and return the form as it is afterwards. Raises NotFilledError."""
    for at, name in enumerate(found.names):
        for last in (False, True):
            try:
                if (element := found.fields[at]) is not None:
                    await _fill(page, element, found.kinds[at], values[name], timeout_s)
                    break
                if last:
                    raise NotFilledError
                found = await find_form(page, found.names, form, words)
            except Error as error:
                if last or isinstance(error, PlaywrightTimeoutError):
                    raise NotFilledError from error
                with contextlib.suppress(Error):  # many applications draw the form anew after the first field
                    found = await find_form(page, found.names, form, words)
    with contextlib.suppress(Error):  # a form for a code may submit itself
        return await find_form(page, found.names, form, words)
    return found


async def _fill(page: Page, element: ElementHandle, kind: str, value: str, timeout_s: float) -> None:
    if kind == "select":
        try:
            await element.select_option(value=value, timeout=1000)
        except Error:
            await element.select_option(label=value, timeout=timeout_s * 1000)
    elif kind == "checkbox":
        await element.evaluate(_CHECK, value != "")
    elif kind == "radio":
        await element.evaluate(_CHOOSE, value)
    elif kind == "hidden":
        await element.evaluate(_SET, value)
    elif kind == "digit" and len(value) > 1:
        await element.focus()
        await page.keyboard.type(value, delay=20)
    elif kind != "button":
        await element.fill(value, timeout=timeout_s * 1000)


async def submit(page: Page, found: FoundForm) -> str:
    """Submit a form that is filled in: click its button, or press the Enter key in its last field.

    Return "" or a message if the button cannot be clicked.
    """
    buttons = [element for element, kind in zip(found.fields, found.kinds, strict=False) if kind == "button" and element is not None]
    button = buttons[0] if buttons else found.submit
    fields = [element for element, kind in zip(found.fields, found.kinds, strict=False)
              if kind in ("text", "digit") and element is not None]
    if button is not None:
        try:
            await button.click(timeout=_CLICK_S * 1000)
        except PlaywrightTimeoutError:
            if not await _is_enabled(button):
                return "the button that submits the form stays disabled"
            with contextlib.suppress(Error):  # something covers the button, such as a question about cookies
                await button.evaluate("element => element.click()")
        except Error:
            pass  # the form has submitted itself, and is gone
    elif fields:
        with contextlib.suppress(Error):
            await fields[-1].press("Enter", timeout=_CLICK_S * 1000)
    return ""


async def _is_enabled(button: ElementHandle) -> bool:
    try:
        return await button.is_enabled()
    except Error:
        return True  # it is gone
