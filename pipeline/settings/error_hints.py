"""Say how to correct a value in the settings that has the wrong type or is none of the allowed values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.settings.fields.scalars import nearest
from pipeline.text import counted

_MOST_LISTED = 12
_MOST_TABLES = 3
_TEXT_OR_TABLE = ("SelectorTable", "FieldTable", "RequestTable", "ScheduleTable")
"""Models whose values can also be written as a text."""
_NAMED = ("spiders", "digests", "proxies", "calendars")
_OTHER_NAMES: dict[str, dict[str, str]] = {
    "spiders": {"url": "start", "urls": "start", "start_url": "start", "start_urls": "start", "class": "spider", "type": "spider", "kind": "spider",
                "interval": "schedule", "cron": "schedule", "every": "schedule", "when": "schedule", "links": "follow", "files": "download",
                "user-agent": "user_agent", "depth": "max_depth", "robots_txt": "robots", "each": "items.each", "fields": "items.fields",
                "key": "items.key", "item": "items", "rules": "items", "selectors": "items.fields"},
    "digests": {"recipients": "to", "recipient": "to", "email": "to", "emails": "to", "mail": "to", "mailto": "to", "when": "schedule",
                "cron": "schedule", "title": "subject", "filter": "where", "attachments": "attach", "sources": "spiders"},
    "mail": {"server": "host", "hostname": "host", "smtp": "host", "smtp_host": "host", "tls": "security", "ssl": "security", "starttls": "security",
             "encryption": "security", "login": "user", "username": "user", "pass": "password", "passwd": "password", "to": "digests.NAME.to"},
    "": {"smtp": "mail", "email": "mail", "schedules": "spiders.NAME.schedule", "items": "spiders.NAME.items", "settings": "pipeline",
         "general": "pipeline", "server": "heartbeat", "http": "heartbeat"},
}
"""Names that people try, with the keys that they mean, by the table in which they try them."""
_LOGIN_FIELDS = ("user", "username", "password", "email", "pass")


def unknown_key(location: tuple[str | int, ...], known: list[str], tables_of: dict[str, list[str]]) -> str:
    """Return the text of the problem that a key is unknown.

    known: the keys of the table. tables_of: maps each key of the settings to the tables that have it.
    """
    name = str(location[-1])
    near = nearest(name, known)
    if name in _LOGIN_FIELDS and location[-2:-1] == ("login",):
        return f"unknown key; write the fields of the login form as fields = {{ {name} = … }}"
    if (meant := _meant(location)) is not None:
        return f"unknown key; write `{meant}` instead"
    if near and len(known) > _MOST_LISTED:
        return f"unknown key{near}"
    others = [] if near else tables_of.get(name, [])
    if 0 < len(others) <= _MOST_TABLES:
        return f"unknown key here; `{name}` is a key of {', '.join(others)}"
    return f"unknown key{near}; known: {', '.join(known)}" if known else f"unknown key{near}"


def _meant(location: tuple[str | int, ...]) -> str | None:
    """Return the key that somebody means who writes the unknown key at a location; None if that is unknown."""
    *table, name = location
    if table and len(table) != (1 if table[0] == "mail" else 2):
        return None
    return _OTHER_NAMES.get(str(table[0]) if table else "", {}).get(str(name).lower())


def bounds(detail: Any) -> str | None:
    """Return the text for a number outside its range, or for a value that is none of the allowed values; None for other errors."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "greater_than_equal":
            return f"should be at least {context['ge']}"
        case "less_than_equal":
            return f"should be at most {context['le']}"
        case "literal_error":
            return f"should be {context['expected']}"
        case "too_short":
            return f"should have at least {counted(context['min_length'], 'entry')}"
        case "string_too_short" if context["min_length"] == 1:
            return "should not be empty"
        case _:
            return None


def correction(detail: Any, value: object) -> str:
    """Return a hint that is appended to a problem with the type of a value, such as `; write ["a"]`; "" if there is none."""
    return next(_corrections(detail, value), "")


def _corrections(detail: Any, value: object) -> Iterator[str]:
    kind, location = detail["type"], detail["loc"]
    if kind in ("tuple_type", "list_type") and isinstance(value, str):
        yield f'; write ["{value}"]' if value.isprintable() and '"' not in value and "\\" not in value else "; write it in brackets: [ … ]"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        if location[0] in _NAMED and len(location) <= 2:
            yield f"; write a header such as [{location[0]}.NAME], with a name of your choice"
        elif or_text(detail) and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            yield "; write one text, without brackets"
        elif kind == "model_type" and location[-1] == "cookies" and isinstance(value, str):
            yield "; write { file = \"path\" } or { header = { env = \"NAME\" } }"
    if kind == "string_type" and isinstance(value, list):
        yield "; write one text, without brackets"
    if kind == "string_type" and isinstance(value, (int, float)) and not isinstance(value, bool):
        yield f'; write "{value}"'


def or_text(detail: Any) -> bool:
    """Return whether the value of the wrong type could also be a text."""
    return detail["type"] == "model_type" and detail.get("ctx", {}).get("class_name") in _TEXT_OR_TABLE
