"""Translate the selectors and line filters of other programs into the table `watch` of a spider."""

from __future__ import annotations

import re
from typing import Any

import regex
from pydantic_core import PydanticCustomError

from pipeline.settings.models.extraction import check_css_of_elements

_NOT_ELEMENTS = re.compile(r"(/text\(\)|@[\w:*-]+)\s*\]?\)?\s*$|^\s*(string|normalize-space|concat|count|sum|number|name)\s*\(")
"""Matches XPath expressions whose results are no elements."""
_INLINE_FLAGS = re.compile(r"\(\?([aiLmsux]+)\)")


def grouped(pattern: str) -> str:
    """Return a regular expression as one group. Flags at its beginning, such as (?i), hold for the group."""
    match = _INLINE_FLAGS.match(pattern)
    flags = "".join(flag for flag in match[1] if flag in "imsx") if match else ""
    return f"(?{flags}:{pattern[match.end() if match else 0:]})"


def keep_lines(pattern: str) -> str:
    """Return the expression for `watch.ignore` that removes every line in which `pattern` does not match."""
    return f"^(?!.*{grouped(pattern)}).*"


def drop_lines(pattern: str) -> str:
    """Return the expression for `watch.ignore` that removes every line in which `pattern` matches."""
    return f"^.*{grouped(pattern)}.*"


def regex_problem(pattern: str) -> str:
    """Return why a text is not a regular expression; "" if it is one."""
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        return f"it is not a regular expression: {error}"
    return ""


def selector_problem(selector: str) -> str:
    """Return why a text cannot be an entry of `watch.without`; "" if it can."""
    try:
        check_css_of_elements(selector)
    except PydanticCustomError as error:
        return error.message()
    return ""


def css_part(selector: str, *, skip: int = 0, most: int = 0) -> Any:
    """Return `part` for a CSS selector. skip, most: how many matches are left out at the beginning, and how many are used; 0 means all.

    Raises ValueError if matches are counted and the selector cannot be written as XPath.
    """
    if not skip and not most:
        return selector
    return xpath_part(css_to_xpath(selector), skip=skip, most=most)


def css_to_xpath(selector: str) -> str:
    """Return XPath for a CSS selector. Raises ValueError."""
    import cssselect

    try:
        return cssselect.HTMLTranslator().css_to_xpath(selector, prefix="//")
    except cssselect.SelectorError as error:
        raise ValueError(f"the selector cannot be written as XPath: {error}") from error


def xpath_part(path: str, *, skip: int = 0, most: int = 0) -> dict[str, Any]:
    """Return `part` for an XPath expression, whose elements are compared line by line."""
    if skip or most:
        conditions = (f"position() > {skip}" if skip else "", f"position() <= {skip + most}" if most else "")
        path = f"({path})[{' and '.join(filter(None, conditions))}]"
    elements = not any(_NOT_ELEMENTS.search(each) for each in path.split("|"))
    return {"xpath": path, "type": "html"} if elements else {"xpath": path}
