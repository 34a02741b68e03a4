"""Reading settings.toml: every problem of the file at once, each with its place and its fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from pipeline.errors import Problem, SettingsError
from pipeline.settings.cross_checks import calendar_problems, chain_problems, day_problems
from pipeline.settings.fields.scalars import Secret, Table, nearest
from pipeline.settings.models.mail import chosen
from pipeline.settings.models.root import Settings
from pipeline.settings.models.spider import SECRET_WORDS

_NUL = re.compile(r"\\[uU]0000")
"""How U+0000 may stand in TOML; in ten thousand tables it is not looked for without need."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def load(path: str | Path) -> Settings:
    """Read, validate and cross-check a settings file. Raises SettingsError with every problem in it."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        raw = tomllib.loads(text)
    except FileNotFoundError as error:
        raise SettingsError(str(path), [Problem("", "no such file; `pipeline init` writes one")]) from error
    except OSError as error:
        raise SettingsError(str(path), [Problem("", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), [Problem("", f"not UTF-8 text (byte {error.start})")]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(path), [Problem("", f"not valid TOML: {error}")]) from error
    problems: list[Problem] = []
    settings: Settings | None = None
    try:
        settings = Settings.model_validate({**raw, "file": str(path)})
    except ValidationError as error:
        problems += _explain(error, raw)
    if "file" in raw:
        problems.append(Problem("file", "unknown key"))
    if _NUL.search(text):
        problems += _nul_problems(raw, "")
    problems += _cross_check(raw)
    if problems or settings is None:
        raise SettingsError(path.name, sorted(set(problems), key=lambda p: (p.key, p.text)))
    for secret in _secrets(settings):
        secret.base = str(settings.folder)
    return settings


def secrets(part: object) -> list[Secret]:
    """Every secret that the settings, or a part of them, refer to, so that logs and pages can be searched for them."""
    return list(_secrets(part))


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in value.model_fields_set:  # no default is a secret, and most fields are left at theirs
            yield from _secrets(getattr(value, name))
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _secrets(entry)
    elif isinstance(value, (tuple, list)):
        for entry in value:
            yield from _secrets(entry)


def _cross_check(raw: dict[str, Any]) -> Iterator[Problem]:
    """What one table says of another. Works on the raw file, so that it is said beside other problems."""
    spiders, digests, proxies, calendars = (_tables(raw, name) for name in ("spiders", "digests", "proxies", "calendars"))
    for section, found in (("spiders", spiders), ("digests", digests), ("proxies", proxies)):
        for name in found:
            if not _NAME.fullmatch(name):
                yield Problem(f"{section}.{name}", "names are letters, digits, - and _ (64 at most), starting with "
                              "a letter or digit")
    for name, days in calendars.items():
        yield from day_problems(f"calendars.{name}", days)
    for name, proxy in proxies.items():
        yield from _proxy_problems(name, proxy)
    for name, spider in spiders.items():
        if isinstance(spider, dict):
            if spider.get("proxy") != "environment":
                yield from _reference_problems(f"spiders.{name}.proxy", "proxy", spider.get("proxy"), proxies)
            yield from calendar_problems(f"spiders.{name}.schedule", spider.get("schedule"), calendars)
    yield from chain_problems(spiders)
    for name, digest in digests.items():
        if isinstance(digest, dict):
            yield from _reference_problems(f"digests.{name}.spiders", "spider", digest.get("spiders"), spiders)
            yield from calendar_problems(f"digests.{name}.schedule", digest.get("schedule"), calendars)
            yield from _choice_problems(f"digests.{name}", digest, spiders)


def _nul_problems(value: object, key: str) -> Iterator[Problem]:
    """No path, address or selector has U+0000 in it, and what is told to the system ends there."""
    if isinstance(value, str) and "\0" in value:
        yield Problem(key, "has the character U+0000 in it")
    for name, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _nul_problems(entry, f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}".lstrip("."))


def _tables(raw: dict[str, Any], name: str) -> dict[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _reference_problems(key: str, kind: str, names: object, known: dict[str, Any]) -> Iterator[Problem]:
    for name in names if isinstance(names, list) else [names]:
        if isinstance(name, str) and name not in known:
            yield Problem(key, f"no {kind} named {name!r}{nearest(name, known)}; known: {', '.join(known) or 'none'}")


def _choice_problems(key: str, digest: dict[str, Any], spiders: dict[str, Any]) -> Iterator[Problem]:
    """Tags that no spider carries, and what a group wants of spiders that are none of its digest's."""
    tags_of = {name: _texts(spider, "tags") for name, spider in spiders.items() if isinstance(spider, dict)}
    yield from _tag_problems(f"{key}.tags", "spider", _texts(digest, "tags"), tags_of)
    names = chosen(_texts(digest, "spiders"), _texts(digest, "tags"), tags_of)
    own = {name: tags_of[name] for name in names if name in tags_of}
    groups = digest.get("groups")
    for number, group in enumerate(groups if isinstance(groups, list) else []):
        for name in _texts(group, "spiders"):
            if name not in names:
                yield Problem(f"{key}.groups[{number}].spiders", f"a group's spider {name!r} is none of the digest's")
        yield from _tag_problems(f"{key}.groups[{number}].tags", "spider of the digest", _texts(group, "tags"), own)


def _tag_problems(key: str, whose: str, tags: list[str], tags_of: dict[str, list[str]]) -> Iterator[Problem]:
    known = dict.fromkeys(tag for own in tags_of.values() for tag in own)
    for tag in tags:
        if tag not in known:
            yield Problem(key, f"no {whose} has the tag {tag!r}{nearest(tag, known)}; known: {', '.join(known) or 'none'}")


def _texts(table: object, name: str) -> list[str]:
    """The texts in a list of a table that may not be as it should."""
    found = table.get(name) if isinstance(table, dict) else None
    return [entry for entry in found if isinstance(entry, str)] if isinstance(found, list) else []


def _proxy_problems(name: str, proxy: object) -> Iterator[Problem]:
    if name == "environment":
        yield Problem(f"proxies.{name}", "this name stands for http_proxy and no_proxy; choose another")
    if proxy == []:
        yield Problem(f"proxies.{name}", "no proxy in it; give at least one URL")
    for number, entry in enumerate(proxy if isinstance(proxy, list) else [proxy]):
        key = f"proxies.{name}[{number}]" if isinstance(proxy, list) else f"proxies.{name}"
        url = entry.get("url") if isinstance(entry, dict) else entry
        if isinstance(url, str) and not _is_proxy_url(url):
            yield Problem(key, f"not a proxy URL; write it as \"http://host:port\" ({', '.join(PROXY_SCHEMES)})")
        elif isinstance(entry, dict) and isinstance(url, str):
            if "user" in entry and "@" in url:
                yield Problem(key, "has a user twice; give it in url or as user, not both")
            if "password" in entry and "user" not in entry:
                yield Problem(key, "has a password without a user")


def _is_proxy_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and port != 0 and parts.path in ("", "/")
            and not (parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", url)))


def _explain(error: ValidationError, raw: dict[str, Any]) -> Iterator[Problem]:
    """pydantic's findings in our words: dotted path, what was found, what is known."""
    found = [(".".join(_shown(detail["loc"], raw, missing=detail["type"] == "missing")), detail)
             for detail in error.errors(include_url=False, include_context=True)]
    told = [key for key, detail in found if detail["type"] not in _TYPES]
    merged: dict[str, list[str]] = {}
    for key, detail in found:
        if detail["type"] in _TYPES:
            merged.setdefault(key, []).append(_IN_OUR_WORDS[detail["type"]].removeprefix("should be "))
    for key, detail in found:
        if detail["type"] not in _TYPES:
            yield Problem(key, _told(key, detail, raw))
        # Where a value may be of several types, each that it is not of complains.
        elif not any(other == key or other.startswith((f"{key}.", f"{key}[")) for other in told) and key in merged:
            *first, last = dict.fromkeys(merged.pop(key))
            yield Problem(key, _told(key, detail, raw, f"should be {', '.join(first)} or {last}" if first else ""))


_TYPES = ("string_type", "tuple_type", "dict_type", "model_type", "bool_type", "bool_parsing")


def _told(key: str, detail: Any, raw: dict[str, Any], text: str = "") -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = _known_keys(detail["loc"][:-1])
        return f"unknown key{nearest(str(detail['loc'][-1]), known)}; known: {', '.join(known)}" if known else "unknown key"
    if kind == "missing":
        return "is missing"
    text = text or _IN_OUR_WORDS.get(kind) or detail["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:] if text[:1].isupper() and not text[:2].isupper() else text
    found = _at(raw, detail["loc"])
    shown = isinstance(found, (str, int, float, bool)) and not SECRET_WORDS.search(key)
    return f"{text}, found {found!r}" if kind not in _OWN_TYPES and shown else text


_IN_OUR_WORDS = {"model_type": "should be a table", "model_attributes_type": "should be a table", "dict_type": "should be a table",
                 "tuple_type": "should be a list", "list_type": "should be a list", "string_type": "should be text",
                 "bool_type": "should be true or false", "bool_parsing": "should be true or false",
                 "int_type": "should be a whole number", "int_parsing": "should be a whole number",
                 "int_from_float": "should be a whole number", "float_type": "should be a number",
                 "float_parsing": "should be a number"}
_OWN_TYPES = {"duration", "size", "secret", "url", "timezone", "address", "mail", "selector", "request", "auth",
              "encoding", "cookies", "key", "min_change", "spider", "start", "items", "empty", "heartbeat", "network",
              "condition", "quiet", "schedule", "host", "header", "login", "path",
              "status"}


def _at(raw: object, location: tuple[str | int, ...]) -> object:
    for step in location:
        inside = step in raw if isinstance(raw, dict) else isinstance(raw, list) and step in range(len(raw))
        if inside:
            raw = raw[step]  # type: ignore[index]
    return raw


def _shown(location: tuple[str | int, ...], raw: object, *, missing: bool) -> list[str]:
    """The path as the file has it: pydantic's own union and model tags left out. missing: its last step is not there."""
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
    """Names the table at `location` takes, found by walking the models the same way the file is walked."""
    def models(annotation: object) -> list[type[Table]]:
        if isinstance(annotation, type) and issubclass(annotation, Table):
            return [annotation]
        return [model for part in get_args(annotation) for model in models(part)]

    tables: list[type[Table]] = [Settings]
    for step in location:
        fields = [(name, info) for table in tables for name, info in table.model_fields.items()]
        inner = [model for name, info in fields if step in (name, info.alias) for model in models(info.annotation)]
        tables = inner or tables
    names = [info.alias or name for table in tables for name, info in table.model_fields.items() if name != "file"
             or table is not Settings]
    return list(dict.fromkeys(names))


def schema() -> dict[str, Any]:
    """JSON Schema of settings.toml, for editors."""
    found = Settings.model_json_schema(by_alias=True)
    found["properties"].pop("file", None)
    return found
