"""Checks across tables of settings.toml: unknown spiders, proxies and tags; circles of `after`.

The checks read the raw TOML, so that `load` can report their problems together with the problems of the models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import Problem
from pipeline.settings.fields.scalars import nearest
from pipeline.settings.fields.schedule import parse_days
from pipeline.settings.models.digest import chosen

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
ENTRY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Matches the names that spiders, digests and proxies may have."""


def cross_check(raw: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each invalid name, day, or reference to a table that does not exist.

    raw: settings.toml as tomllib reads it.
    """
    spiders, digests, proxies, calendars = (_table(raw, name) for name in ("spiders", "digests", "proxies", "calendars"))
    for section, found in (("spiders", spiders), ("digests", digests), ("proxies", proxies)):
        for name in found:
            if not ENTRY_NAME.fullmatch(name):
                yield Problem(f"{section}.{name}", "the name may have at most 64 characters, only letters, digits, - and _, "
                              "and must start with a letter or digit")
    for name, days in calendars.items():
        for entry in _texts(days):
            yield from _day_problems(f"calendars.{name}", entry)
    for name, proxy in proxies.items():
        yield from _proxy_problems(name, proxy)
    for name, spider in spiders.items():
        if isinstance(spider, dict):
            if spider.get("proxy") != "environment":
                yield from _reference_problems(f"spiders.{name}.proxy", "proxy", spider.get("proxy"), proxies)
            yield from _skip_problems(f"spiders.{name}.schedule", spider.get("schedule"), calendars)
    yield from _after_problems(spiders)
    for name, digest in digests.items():
        if isinstance(digest, dict):
            yield from _reference_problems(f"digests.{name}.spiders", "spider", digest.get("spiders"), spiders)
            yield from _skip_problems(f"digests.{name}.schedule", digest.get("schedule"), calendars)
            yield from _choice_problems(f"digests.{name}", digest, spiders)
            yield from _model_problems(f"digests.{name}", digest, has_model="ai" in raw)


def _table(raw: dict[str, Any], name: str) -> dict[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _texts(value: object) -> list[str]:
    """Return the texts in a list; return a single text as a list of one.

    Values of other types are ignored.
    A TOML date counts as a text.
    """
    entries = value if isinstance(value, list) else [value]
    return [str(entry) for entry in entries if isinstance(entry, str) or type(entry) is date]


def _list(table: object, name: str) -> list[str]:
    """Return the texts of the list `name` in a table.

    A table or list of the wrong type counts as empty.
    """
    found = table.get(name) if isinstance(table, dict) else None
    return [entry for entry in found if isinstance(entry, str)] if isinstance(found, list) else []


def _reference_problems(key: str, kind: str, names: object, known: dict[str, Any]) -> Iterator[Problem]:
    for name in names if isinstance(names, list) else [names]:
        if isinstance(name, str) and kind == "proxy" and "://" in name:  # the URL is not shown, because it may contain a password
            yield Problem(key, "the URL of a proxy is written in [proxies], with a name: office = \"http://…\"; here, write this name: proxy = \"office\"")
        elif isinstance(name, str) and name not in known:
            yield Problem(key, f"no {kind} named {name!r}{nearest(name, known)}; known: {', '.join(known) or 'none'}")


# Digests


def _choice_problems(key: str, digest: dict[str, Any], spiders: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each invalid choice of spiders in a digest.

    A tag that no spider has is invalid, and so is a spider of a group that the group's digest does not have.
    """
    tags_of = {name: _list(spider, "tags") for name, spider in spiders.items() if isinstance(spider, dict)}
    yield from _tag_problems(f"{key}.tags", "spider", _list(digest, "tags"), tags_of)
    names = chosen(_list(digest, "spiders"), _list(digest, "tags"), tags_of)
    own = {name: tags_of[name] for name in names if name in tags_of}
    groups = digest.get("groups")
    for number, group in enumerate(groups if isinstance(groups, list) else []):
        for name in _list(group, "spiders"):
            if name not in names:
                yield Problem(f"{key}.groups[{number}].spiders", f"the digest of this group has no spider {name!r}; "
                              "add the spider to the digest, or remove the spider from the group")
        yield from _tag_problems(f"{key}.groups[{number}].tags", "spider of the digest", _list(group, "tags"), own)


def _model_problems(key: str, digest: dict[str, Any], *, has_model: bool) -> Iterator[Problem]:
    """Yield a problem for each setting of a digest, and of its groups, that needs a language model if there is none."""
    groups = digest.get("groups")
    for own, table in ((key, digest), *((f"{key}.groups[{number}]", group) for number, group in enumerate(groups if isinstance(groups, list) else []))):
        for name in ("only_if", "summary"):
            if not has_model and isinstance(table, dict) and table.get(name):
                yield Problem(f"{own}.{name}", "needs a language model, and there is no table [ai]; add one with `base_url` and `model`")


def _tag_problems(key: str, whose: str, tags: list[str], tags_of: dict[str, list[str]]) -> Iterator[Problem]:
    known = dict.fromkeys(tag for own in tags_of.values() for tag in own)
    for tag in tags:
        if tag not in known:
            yield Problem(key, f"no {whose} has the tag {tag!r}{nearest(tag, known)}; known: {', '.join(known) or 'none'}")


# Proxies


def _proxy_problems(name: str, proxy: object) -> Iterator[Problem]:
    if name == "environment":
        yield Problem(f"proxies.{name}", "the name \"environment\" is reserved for the environment variables http_proxy and no_proxy; choose another name")
    if proxy == []:
        yield Problem(f"proxies.{name}", "the list is empty; give at least one URL")
    for number, entry in enumerate(proxy if isinstance(proxy, list) else [proxy]):
        key = f"proxies.{name}[{number}]" if isinstance(proxy, list) else f"proxies.{name}"
        url = entry.get("url") if isinstance(entry, dict) else entry
        if isinstance(url, str) and not _is_proxy_url(url):
            yield Problem(key, f"not a proxy URL; write a URL such as \"http://host:port\" (schemes: {', '.join(PROXY_SCHEMES)})")
        elif isinstance(entry, dict) and isinstance(url, str):
            if "user" in entry and "@" in url:
                yield Problem(key, "the proxy has two user names; give the user name either in `url` or in `user`")
            if "password" in entry and "user" not in entry:
                yield Problem(key, "the proxy has a password, but no user name; add `user`")


def _is_proxy_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and port != 0 and parts.path in ("", "/")
            and not (parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", url)))


# Schedules


def _after_problems(spiders: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each unknown spider in `after`, and for each circle of `after`.

    In a circle, a spider would wait for itself.
    """
    before = {name: _texts(spider.get("after")) for name, spider in spiders.items() if isinstance(spider, dict)}
    for name, others in before.items():
        for other in others:
            if other not in spiders:
                yield Problem(f"spiders.{name}.after", f"no spider named {other!r}{nearest(other, spiders)}; "
                              f"known: {', '.join(spiders)}")
        if circle := _circle(name, before):
            yield Problem(f"spiders.{name}.after", f"the spider would run after itself: {' after '.join(circle)}")


def _circle(name: str, before: dict[str, list[str]]) -> list[str]:
    """Return a chain of `after` settings from the spider `name` back to itself; empty if there is none.

    before: maps each spider to the spiders in its `after` setting.
    """
    paths, seen = [[name]], set[str]()
    while paths:
        path = paths.pop()
        for other in before.get(path[-1], ()):
            if other == name:
                return [*path, name]
            if other not in seen:
                seen.add(other)
                paths.append([*path, other])
    return []


def _skip_problems(key: str, schedule: object, calendars: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each entry of `skip` that is neither a day nor the name of a calendar."""
    for table in schedule if isinstance(schedule, list) else [schedule]:
        for entry in _texts(table.get("skip")) if isinstance(table, dict) else ():
            if entry not in calendars:
                yield from _day_problems(f"{key}.skip", entry, f"; or the name of a list in [calendars]: {', '.join(calendars)}"
                                         if calendars else f"; or add a list {entry} to [calendars]" if entry.isidentifier() else "")


def _day_problems(key: str, entry: str, hint: str = "") -> Iterator[Problem]:
    try:
        parse_days([entry])
    except ValueError as error:
        yield Problem(key, f"{error}{hint}")
