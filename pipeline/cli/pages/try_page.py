"""Format the results of `pipeline try` as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.text import clean_line, counted, shown_url

_LINES = 30
_LENGTH = 200


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the results of `try` as lines of text."""
    yield f"{shown_url(found['url'])}: HTTP {found['status']}, {counted(found['characters'], 'character')}"
    if found.get("rendered"):
        yield "rendered in a browser"
    yield from found.get("left_out_of_page", ())
    if found.get("session"):
        yield f"session: {found['session']}"
    if "selectors" in found:
        yield from _expression_lines(found["selectors"])
        return
    for rule in found["rules"]:
        head = f"{rule['name']}  {rule['rule']}"
        if rule["error"]:
            yield f"{head}\n    failed: {rule['error']}"
            continue
        matched = counted(rule["count"], "match")
        yield f"{head}\n    {matched}" + "".join(f"\n    {value}" for value in rule["first"])
    for name, values in (("links to follow", found["links"]), ("items", found["items"]), ("rejected", found["rejected"])):
        if values or name == "items":
            yield f"{name}: {len(values)}"
        for value in values[:3]:
            yield "    " + (value if isinstance(value, str) else _one_line(value))
        if len(values) > 3:
            yield f"    … and {len(values) - 3} more"
    yield from (f"picture: {found[name]}" if name == "picture" else found[name] for name in ("picture", "obstacle", "left_out") if found.get(name))


def _expression_lines(selectors: list[dict[str, Any]]) -> Iterator[str]:
    for each in selectors:
        yield ", ".join(f"{name} {value}" for name, value in each["selector"].items())
        if each["error"]:
            yield f"    failed: {each['error']}"
            continue
        yield f"    {counted(each['count'], 'match')}"
        for value in each["values"][:_LINES]:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"    {clean_line(text, _LENGTH)}"
        if each["count"] > _LINES:
            yield f"    … and {each['count'] - _LINES} more"


def _one_line(value: dict[str, Any]) -> str:
    """Return an item as JSON; for the item of a watched page, return its name and the lines of the page."""
    text = value.get("text")
    if set(value) != {"url", "name", "text"} or not isinstance(text, str):
        return json.dumps(value, ensure_ascii=False)
    text_lines = text.splitlines()
    more = [f"… and {len(text_lines) - _LINES} more lines"] if len(text_lines) > _LINES else []
    return "\n        ".join([json.dumps(value["name"], ensure_ascii=False), *text_lines[:_LINES], *more])
