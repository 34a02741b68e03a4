"""Turn pydantic's validation errors into messages: dotted key, problem, value found, known keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import ValidationError

from pipeline.errors import Problem
from pipeline.registry import load
from pipeline.settings.error_hints import bounds, correction, or_text, unknown_key
from pipeline.settings.fields.scalars import SECRET_WORDS, Table
from pipeline.settings.models.mail import MailTable, transport_tables
from pipeline.settings.models.root import Settings

_TEXTS = {
    "model_type": "should be a table", "model_attributes_type": "should be a table", "dict_type": "should be a table",
    "tuple_type": "should be a list", "list_type": "should be a list", "string_type": "should be text",
    "bool_type": "should be true or false", "bool_parsing": "should be true or false",
    "int_type": "should be a whole number", "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number", "float_type": "should be a number", "float_parsing": "should be a number"}
"""The error message for each of pydantic's error types."""
_WRONG_TYPE = ("string_type", "tuple_type", "dict_type", "model_type", "bool_type", "bool_parsing")
"""Error types that pydantic reports once for each type of a union, if the value has none of these types."""
_PRIVATE = re.compile(r"\.(login|auth|cookies|headers)$")
"""Matches the keys of tables with secrets. A text in place of such a table is not shown, because it may be a secret."""
_COMPLETE = {"duration", "duration_too_long", "extra", "size", "secret", "url", "timezone", "address", "mail", "selector", "request", "auth", "encoding",
             "cookies", "key", "min_change", "spider", "start", "items", "empty", "heartbeat", "network", "condition",
             "quiet", "only_if", "summary", "schedule", "processes", "host", "header", "login", "path", "status", "render", "viewport", "locale"}
"""Error types of this project's own validators. Their messages already contain the value, so it is not appended."""


def explain(error: ValidationError, raw: dict[str, Any]) -> Iterator[Problem]:
    """Yield a Problem for each error that pydantic found.

    raw: settings.toml as tomllib reads it.
    """
    found = [(".".join(_path(detail["loc"], raw, missing=detail["type"] == "missing")), detail)
             for detail in error.errors(include_url=False, include_context=True)]
    urls = {key for key, detail in found if detail["type"] == "url"}  # of a key that is a URL or a secret: only what is wrong with the URL
    found = [(key, detail) for key, detail in found if detail["type"] != "secret" or key not in urls]
    specific = [key for key, detail in found if detail["type"] not in _WRONG_TYPE]
    expected: dict[str, list[str]] = {}
    for key, detail in found:
        if detail["type"] in _WRONG_TYPE:
            expected.setdefault(key, []).append(_TEXTS[detail["type"]].removeprefix("should be "))
    for key, detail in found:
        if detail["type"] not in _WRONG_TYPE:
            yield Problem(key, _text(key, detail, raw))
        # A union reports one error for each of its types. Combine these errors into one problem, unless a more specific error is known.
        elif not any(other == key or other.startswith((f"{key}.", f"{key}[")) for other in specific) and key in expected:
            *first, last = dict.fromkeys(expected.pop(key))
            yield Problem(key, _text(key, detail, raw, f"should be {', '.join(first)} or {last}" if first else ""))


def _text(key: str, detail: Any, raw: dict[str, Any], text: str = "") -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return unknown_key(detail["loc"], _known_keys(detail["loc"][:-1]), _tables_of_keys())
    if kind == "missing":
        return f"is missing{_meaning(detail['loc'])}"
    value = _value_at(raw, detail["loc"])
    text = text or bounds(detail) or _TEXTS.get(kind) or detail["msg"].removeprefix("Value error, ")
    text = text.replace("should be a table", "should be a text or a table") if or_text(detail) else text
    text = text[0].lower() + text[1:] if text[:1].isupper() and not text[:2].isupper() else text
    shown = isinstance(value, (str, int, float, bool)) and not SECRET_WORDS.search(key) and not _PRIVATE.search(key)
    found = f"{text}, found {_written(value)}" if kind not in _COMPLETE and shown else text
    return found + (correction(detail, value) if not SECRET_WORDS.search(key) else "")


def _written(value: object) -> str:
    """Return a value as TOML writes it, except for the quotes of a text."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _meaning(location: tuple[str | int, ...]) -> str:
    """Return the first sentence of the description of a key that is missing, such as ": the URL to fetch"; "" if it is unknown."""
    from pipeline.settings.reference import descriptions  # noqa: PLC0415  reads the source of the models, which only an error needs
    for table in _models_at(location[:-1]):
        text = next((text for name, (_, text) in descriptions(table).items() if name == location[-1]), "")
        if text:
            sentence = text.partition(". ")[0].rstrip(".")
            return f": {sentence[0].lower() if not sentence[:2].isupper() else sentence[0]}{sentence[1:]}"
    return ""


@cache
def _tables_of_keys() -> dict[str, list[str]]:
    """Return, for each key of the settings, the tables that have it, such as "[digests.NAME]"."""
    from pipeline.settings.reference import SECTIONS  # noqa: PLC0415
    found: dict[str, list[str]] = {}
    for heading, table in SECTIONS:
        for name, info in table.model_fields.items() if heading.startswith("[") else ():
            found.setdefault(info.alias or name, []).append(heading)
    return found


def _value_at(raw: object, location: tuple[str | int, ...]) -> object:
    """Return the value in settings.toml at a location that pydantic reports.

    Parts of the location that are not keys are skipped.
    """
    for step in location:
        inside = step in raw if isinstance(raw, dict) else isinstance(raw, list) and step in range(len(raw))
        if inside:
            raw = raw[step]  # type: ignore[index]
    return raw


def _path(location: tuple[str | int, ...], raw: object, *, missing: bool) -> list[str]:
    """Return the dotted key of an error location, as the key is written in settings.toml.

    Parts of the location that are not keys, such as the names of types that pydantic adds, are left out.

    missing: whether the error is that a required key is missing. The name of the missing key is then part of the result.
    """
    path: list[str] = []
    for position, step in enumerate(location):
        last = position == len(location) - 1
        if isinstance(raw, dict) and step in raw:
            raw = raw[step]
            path.append(str(step))
        elif isinstance(raw, list) and isinstance(step, int):
            raw = raw[step] if step < len(raw) else None
            path[-1:] = [f"{path[-1]}[{step}]"] if path else [f"[{step}]"]
        elif last and missing and isinstance(step, str):
            path.append(step)
    return path


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the models accept in the table at `location`."""
    tables = _models_at(location)
    names = [info.alias or name for table in tables for name, info in table.model_fields.items() if not info.exclude]
    return list(dict.fromkeys([*names, *(transport_tables() if MailTable in tables else ())]))


def _models_at(location: tuple[str | int, ...]) -> list[type[Table]]:
    """Return the models of the table at `location`."""
    def models(annotation: object) -> list[type[Table]]:
        if isinstance(annotation, type) and issubclass(annotation, Table):
            return [annotation]
        return [model for part in get_args(annotation) for model in models(part)]

    tables: list[type[Table]] = [Settings]
    for step in location:
        fields = [(name, info) for table in tables for name, info in table.model_fields.items()]
        inner = [model for name, info in fields if step in (name, info.alias) for model in models(info.annotation)]
        own = transport_tables().get(str(step)) if MailTable in tables else None
        tables = inner or ([load(own)] if own is not None else tables)
    return tables
