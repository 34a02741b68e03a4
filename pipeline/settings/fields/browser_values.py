"""Check the values of `render` that a browser reads.

Selectors, keys, window sizes, languages and time zones.
"""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import cssselect
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import duration_s, nearest

NETWORK_IDLE = "networkidle"
_CONDITIONS = 'write a CSS selector, "networkidle" or a time such as "2s"'
_EVENTS = frozenset({"load", "domcontentloaded", "commit"})
"""What other programs call the moments that this program waits for anyway."""
_ENGINE = re.compile(r"""(?:[a-z_:-]+=|/|\.\.(?:/|$)|\(+/|["'])|>>""")
"""Matches a selector of Playwright that is not CSS: `text=More`, `xpath=//a`, `//a`, `..`, `"More"` and `form >> a`."""
_PLAYWRIGHT_ONLY = re.compile(r":(?:has-text|text|text-is|text-matches|visible|nth-match|right-of|left-of|above|below|near|light)\b")
_EXTENSIONS = re.compile(r":(?:contains|lexbor-contains)\(")
"""Matches pseudo-classes that rules may contain, but that no browser knows."""
_BROWSER_ONLY = re.compile(r":(?:focus-within|focus-visible|modal|popover-open|open|defined|fullscreen|autofill|indeterminate|default|target|scope|valid|invalid|"
                           r"user-valid|user-invalid|in-range|out-of-range|picture-in-picture|(?:lang|dir|state)\([\w-]+\))(?![\w(-])")
"""Matches pseudo-classes that browsers know, but not lexbor."""
_LONGEST_SIDE, _SHORTEST_SIDE = 10_000, 10
_MODIFIERS = ("Shift", "Control", "Alt", "Meta", "ControlOrMeta", "ShiftLeft", "ShiftRight", "ControlLeft", "ControlRight", "AltLeft", "AltRight", "MetaLeft", "MetaRight")
_KEYS = (*_MODIFIERS, "Enter", "NumpadEnter", "Tab", "Escape", "Space", "Backspace", "Delete", "Insert", "Home", "End", "PageUp", "PageDown", "ArrowUp", "ArrowDown",
         "ArrowLeft", "ArrowRight", "CapsLock", "NumLock", "ScrollLock", "Pause", "PrintScreen", "ContextMenu", "Help", "Clear", "Backquote", "Minus", "Equal",
         "Backslash", "BracketLeft", "BracketRight", "Semicolon", "Quote", "Comma", "Period", "Slash", *(f"F{number}" for number in range(1, 13)),
         *(f"Digit{number}" for number in range(10)), *(f"Key{chr(letter)}" for letter in range(ord("A"), ord("Z") + 1)))
"""The keys that Playwright's `Keyboard.press` documents."""
_OTHER_KEYS = {"return": "Enter", "esc": "Escape", "ctrl": "Control", "strg": "Control", "cmd": "Meta", "command": "Meta", "del": "Delete", "option": "Alt",
               "up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight", "pgup": "PageUp", "pgdn": "PageDown", " ": "Space"}
"""Names that people write, with the keys that they mean."""


def wait_s(condition: str) -> float | None:
    """Return the seconds of a condition of `wait_for` that is a time, such as "2s"; None for a selector and "networkidle"."""
    return float(str(duration_s(condition))) if condition[:1].isdigit() else None  # no CSS selector begins with a digit


def check_condition(value: str) -> str:
    """Return a condition of `wait_for`, "networkidle" as it is written there. Raises PydanticCustomError."""
    name = re.sub(r"[\s_-]", "", value.lower())
    if not value.strip():
        raise PydanticCustomError("condition", "the text is empty; {allowed}", {"allowed": _CONDITIONS})
    if name == NETWORK_IDLE:
        return NETWORK_IDLE
    if name in _EVENTS:
        raise PydanticCustomError("condition", "{found} is nothing to wait for: the page's load event is always waited for; remove it, or {allowed}",
                                  {"found": repr(value), "allowed": _CONDITIONS})
    if wait_s(value) is None:
        check_browser_css(value)
    return value


def check_browser_css(value: str) -> str:
    """Return a CSS selector of elements that a browser reads. Raises PydanticCustomError, also for other selectors of Playwright."""
    def refuse(why: str) -> PydanticCustomError:
        return PydanticCustomError("selector", "{found} is not a CSS selector of elements: {why}", {"found": repr(value), "why": why})

    if not value.strip():
        raise PydanticCustomError("selector", 'the text is empty; write a CSS selector such as "button.more"')
    if (engine := _ENGINE.match(value) if ">>" not in value else _ENGINE.search(value)) is not None:
        name = engine[0] if engine[0][-1] in "=>" else "XPath" if engine[0][0] in "/(." else "a text in quotes"
        raise refuse(f'{name} is not supported here; write CSS such as "button.more" or "a[href*=more]"')
    if re.search(r"::(?:text\b|attr\()", value):
        raise refuse("a part such as ::text or ::attr(NAME) is no element; remove it")
    if (other := _PLAYWRIGHT_ONLY.search(value) or _EXTENSIONS.search(value)) is not None:
        raise refuse(f'{other[0].rstrip("(")} is not known to browsers; find the element by its class, id or an attribute, such as "button.more" or "a[href*=more]"')
    known = _BROWSER_ONLY.sub(":first-child", value)
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError  # noqa: PLC0415  only where a browser is used
    try:
        LexborHTMLParser("<i></i>").css(known)
    except SelectolaxError as error:
        try:
            cssselect.parse(known)  # says where the mistake is, but does not know all of CSS
        except cssselect.SelectorError as reason:
            raise refuse(str(reason)) from error
        unknown = next((name for name in re.findall(r":[\w-]+", known)), "")
        raise refuse(f"{unknown} is unknown" if unknown else "it is not valid") from error
    return value


ElementSelector = Annotated[str, AfterValidator(check_browser_css)]
"""A CSS selector of elements that a browser reads."""


def is_browser_css(value: str) -> bool:
    """Return whether a text is a CSS selector of elements that a browser reads."""
    try:
        check_browser_css(value)
    except PydanticCustomError:
        return False
    return True


def check_key(value: str) -> str:
    """Return a key or a combination of keys, such as "Enter" or "Control+A". Raises PydanticCustomError."""
    *modifiers, key = value.split("+") if not value.endswith("+") else [*filter(None, value[:-1].rstrip("+").split("+")), "+"]
    for name, known in (*((modifier, _MODIFIERS) for modifier in modifiers), (key, _KEYS)):
        if name in known or (known is _KEYS and len(name) == 1 and " " < name <= "~"):
            continue
        meant = _OTHER_KEYS.get(name.lower()) or next((each for each in known if each.lower() == name.lower()), "")
        hint = f" (did you mean {meant!r}?)" if meant else nearest(name, known)
        raise PydanticCustomError("key", '{found} is not a key{hint}; write a character, a name such as "Enter", "Escape" or "ArrowDown", or a combination such as '
                                  '"Control+A"', {"found": repr(name), "hint": hint})
    return value


def check_viewport(value: object) -> object:
    """Return a size such as "1280x800"; spaces and a multiplication sign are allowed. Raises PydanticCustomError."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*[xX×*]\s*(\d{1,5})\s*", value) if isinstance(value, str) else None
    if found is None or not all(_SHORTEST_SIDE <= int(side) <= _LONGEST_SIDE for side in found.groups()):
        raise PydanticCustomError("viewport", '{found} is not a size of a window; write width x height in pixels, each from {least} to {most}, such as "1280x800"',
                                  {"found": _found(value), "least": _SHORTEST_SIDE, "most": _LONGEST_SIDE})
    return f"{int(found[1])}x{int(found[2])}"


def check_language(value: object) -> object:
    """Return a language tag such as "de-DE" (BCP 47), whose language and country exist. Raises PydanticCustomError."""
    if value is None:
        return value
    from babel import Locale  # noqa: PLC0415  only settings with a language need it
    from babel.core import parse_locale  # noqa: PLC0415
    names, why = Locale("en"), ""
    try:
        language, territory, script, *_ = parse_locale(value.replace("_", "-") if isinstance(value, str) and re.fullmatch(r"[\w-]+", value) else "", sep="-")
        why = f"there is no language {language!r}" if language not in names.languages else \
            f"there is no country {territory!r}" if territory and territory not in names.territories else \
            f"there is no script {script!r}" if script and script not in names.scripts else ""
    except ValueError:
        why = "it is not a language tag"
    if why:
        raise PydanticCustomError("locale", '{found} is not a language: {why}; write a language with or without a country, such as "de" or "de-DE"',
                                  {"found": _found(value), "why": why})
    return "-".join(filter(None, (language, script, territory)))


def check_time_zone(value: str | None) -> str | None:
    """Return the name of a time zone that browsers know, too. Raises PydanticCustomError."""
    if value is None:
        return None
    try:
        if not value.startswith(("posix", "right", "localtime")):
            ZoneInfo(value)
            return value
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise PydanticCustomError("timezone", '{found} is not a time zone{hint}; write a name such as "Europe/Berlin" or "UTC"',
                              {"found": repr(value), "hint": _similar_zone(value)})


def _similar_zone(value: str) -> str:
    zones = {zone for zone in available_timezones() if zone.count("/") == 1 and not zone.startswith(("Etc/", "SystemV/"))}
    wanted = value.lower().replace(" ", "_")
    named = sorted(zone for zone in zones if wanted in (zone.lower(), zone.lower().rpartition("/")[2]))
    return f" (did you mean {named[0]!r}?)" if named else nearest(value, zones)


def _found(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, (str, int, float)) else "this"
