"""What the table of a spider may contain that came by the pages or the API.

Whoever has a token of the service must not run code with it, read files, reach what only this machine can reach, or send the secrets of
other sites somewhere. Each key is either in WRITABLE or in FILES_ONLY; a test finds a new key that is in neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.cli.settings_check.walk import values_within
from pipeline.errors import Problem
from pipeline.registry import BUILT_IN_SPIDERS
from pipeline.settings import Secret, Settings, SpiderTable, secrets
from pipeline.settings.drafts import KEYRING_PREFIX, SECRET_PREFIX, known_places, places_of
from pipeline.text import clean_line

WRITABLE = frozenset((
    "spider", "tags", "schedule", "after", "catch_up", "overlap", "retry", "start", "follow", "download", "hosts", "allow", "deny", "drop_params", "render", "pages",
    "items", "allow_empty", "mend", "watch", "login", "auth", "cookies", "login_cookies", "proxy", "banned", "max_pages", "max_depth", "max_time", "concurrency",
    "processes", "queue", "delay", "throttle", "patience", "quiet", "revalidate", "page_cache", "robots", "encoding", "pdf", "headers", "headers_for", "user_agent",
    "timeout", "retries", "max_page_size", "time_limit", "memory_limit", "page_cpu_limit", "downloads", "archive", "display", "args", "jar",
    "public_only"))
"""Keys that a draft may have. What `spider`, `cookies`, `proxy` and secrets may be is checked further."""
FILES_ONLY = {
    "project": "it names code that this machine executes",
    "ca_file": "it names a file of this machine",
    "insecure_tls": "it turns off the check of certificates",
    "beat": "it names a URL that this machine calls after each run",
}
"""Keys that only the files of the settings may have, and why."""
_IN_FILES = "write it in a file of the settings on the machine of the service"


def policy_problems(name: str, raw: Mapping[str, Any], table: SpiderTable | None, settings: Settings, known: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield a problem for each value that a draft must not have.

    raw: the table as tomllib reads it. table: the validated table; None if it is not valid. settings: the settings without the draft. known:
    the tables of their spiders, as tomllib reads them. A value that a spider with the same hosts has already is not a problem, for instance
    the login of that spider: it sends nothing that is not sent there now.
    """
    shared = _shared_keys(raw, table, settings, known)
    spider = raw.get("spider")
    if spider is not None and spider not in BUILT_IN_SPIDERS:
        yield Problem(f"spiders.{name}.spider", f"only a built-in spider can be used here ({', '.join(BUILT_IN_SPIDERS)}), because a class is code that this machine "
                      f"executes; {_IN_FILES}")
    for key in raw:
        if key in FILES_ONLY and (key == "project" or key not in shared):
            yield Problem(f"spiders.{name}.{key}", f"this key cannot be set here, because {FILES_ONLY[key]}; {_IN_FILES}")
    cookies = raw.get("cookies")
    if isinstance(cookies, Mapping) and "file" in cookies and "cookies" not in shared:
        yield Problem(f"spiders.{name}.cookies.file", "this key cannot be set here, because it names a file of this machine; use `header` with a secret, or "
                      f"import the cookies with `pipeline cookies import {name} FILE`")
    proxy = raw.get("proxy")
    if proxy is not None and proxy not in {other.proxy for other in settings.spiders.values()}:
        yield Problem(f"spiders.{name}.proxy", f"no spider of the settings uses this proxy, and a proxy may reach what only this machine can reach; {_IN_FILES}")
    if table is not None:
        yield from _secrets(name, table, shared, _secrets_of_other_hosts(table, settings))
        yield from _places(name, table, settings)


def _shared_keys(raw: Mapping[str, Any], table: SpiderTable | None, settings: Settings, known: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the keys whose whole value another spider has, all of whose hosts this spider names at most."""
    places = places_of(table) if table is not None else frozenset()
    return frozenset(key for other, own in known.items() if places and other in settings.spiders and places <= places_of(settings.spiders[other])
                     for key in raw if key in own and own[key] == raw[key])


def _secrets_of_other_hosts(table: SpiderTable, settings: Settings) -> frozenset[Secret]:
    """Return the secrets that the settings use, except for those of spiders all of whose hosts the draft's are."""
    places = places_of(table)
    others = settings.model_copy(update={"spiders": {name: each for name, each in settings.spiders.items() if not places <= places_of(each)}})
    return frozenset(secrets(others))


def _secrets(name: str, table: SpiderTable, shared: frozenset[str], taken: frozenset[Secret]) -> Iterator[Problem]:
    for key, value in values_within(table, f"spiders.{name}"):
        if not isinstance(value, Secret) or key.removeprefix(f"spiders.{name}.").partition(".")[0].partition("[")[0] in shared:
            continue
        if value in taken:
            yield Problem(key, f"the settings use the secret {value.reference} for something else, so it is not sent to the hosts of this spider; use another one")
        elif value.kind == "file":
            yield Problem(key, f'a secret in a file cannot be named here, because this machine would send the file; use {{ env = "{SECRET_PREFIX}…" }} or a keyring')
        elif value.kind == "env" and not value.place.startswith(SECRET_PREFIX):
            yield Problem(key, f"only environment variables whose names begin with {SECRET_PREFIX} can be named here, so that no other secret of the service is "
                          f"sent to a site; rename the variable, or {_IN_FILES}")
        elif value.kind == "keyring" and not value.place.lower().startswith(KEYRING_PREFIX):
            yield Problem(key, f'only entries of the keyring whose service begins with "{KEYRING_PREFIX}" can be named here; rename the entry, or {_IN_FILES}')


def _places(name: str, table: SpiderTable, settings: Settings) -> Iterator[Problem]:
    if not table.public_only and (unknown := places_of(table) - known_places(settings.spiders)):
        shown = ", ".join(sorted({clean_line(host, 60) for host, _ in unknown})[:3])
        yield Problem(f"spiders.{name}", f"add public_only = true to this table: the spiders of the settings do not name {shown}, and only they may name hosts that "
                      "have a private address")
