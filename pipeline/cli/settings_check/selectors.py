"""Check for selectors that are written in another language than the one they are read as."""

from __future__ import annotations

import re
from collections.abc import Iterator

import cssselect

from pipeline.cli.settings_check.remark import Remark
from pipeline.cli.settings_check.walk import values_within
from pipeline.settings import FieldTable, ItemsTable, SelectorTable, Settings

_CSS = re.compile(r"[^/@()$|:]*(?:\.[A-Za-z_-]|#[A-Za-z_-]|[>~])[^/@()$|:]*")
"""Matches texts that have a class, an id or a combinator of CSS, and none of the signs that most XPath expressions have."""


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a warning for each XPath that looks like CSS, and for items of which only some rules read JSON."""
    for name, spider in settings.spiders.items():
        for key, value in values_within(spider, f"spiders.{name}"):
            if isinstance(value, SelectorTable) and value.format is not None and "%" not in value.format:
                yield Remark(f"{key}.format", f"{value.format!r} is not a date format: it contains no %", "write a format such as \"%d.%m.%Y\"")
            if isinstance(value, SelectorTable) and value.xpath is not None and _looks_like_css(value.xpath):
                yield Remark(f"{key}.xpath", f"{value.xpath!r} looks like CSS", "write it as a text, or as css = …", suspicious=True)
            elif isinstance(value, ItemsTable) and value.each is not None:
                yield from _mixed(key, value.each, value.fields)


def _looks_like_css(xpath: str) -> bool:
    if not _CSS.fullmatch(xpath.strip()):
        return False
    try:
        cssselect.parse(xpath)
    except cssselect.SelectorError:
        return False
    return True


def _mixed(key: str, each: SelectorTable, fields: dict[str, FieldTable]) -> Iterator[Remark]:
    """Yield a warning for each field that reads HTML although `each` selects parts of JSON, or the other way round."""
    for name, field in fields.items():
        reads_html = field.css is not None or field.xpath is not None
        if each.is_json and reads_html:
            yield Remark(f"{key}.fields.{name}", "the field is a selector for HTML, but `each` selects parts of JSON", "write { jmes = … }", suspicious=True)
        elif field.jmes is not None and field.json_ is None and field.data is None and not each.is_json and (each.css or each.xpath):
            yield Remark(f"{key}.fields.{name}", "the field reads JSON with jmes, but `each` selects elements of HTML",
                         "write a CSS selector, or an `each` with jmes", suspicious=True)
