"""What spiders added on the pages may share with those of the settings: logins, private hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.hosts import PORTS, host_and_port
from pipeline.settings.files import SettingsFiles
from pipeline.settings.models.root import Settings
from pipeline.settings.models.spider import SpiderTable

DRAFT_BYTES = 64 * 1024
"""Maximum size of the text of a draft in UTF-8."""
SECRET_PREFIX = "SPIDER_"  # noqa: S105  not a secret
"""How the names of the environment variables begin that a draft may use. Those of the mail server, the database and other sites must not be sent
to a site that somebody writes into a draft."""
KEYRING_PREFIX = "spider"
_SESSION_KEYS = ("login", "auth", "cookies", "login_cookies", "proxy", "banned", "headers", "headers_for", "hosts", "user_agent", "ca_file", "insecure_tls",
                 "encoding", "robots", "delay", "concurrency", "throttle", "timeout", "public_only")
"""Keys of [spiders.NAME] that another spider of the same site needs, too."""

Place = tuple[str, int]


def session_keys(settings: Settings, name: str) -> dict[str, Any]:
    """Return the keys of a spider's table that determine its session, as they are written in the settings."""
    table = SettingsFiles(Path(settings.file)).raw["spiders"][name]
    return {key: table[key] for key in _SESSION_KEYS if key in table}


def places_of(spider: SpiderTable) -> frozenset[Place]:
    """Return the hosts and ports that a table names: those that the SSRF guard of its session allows to be private."""
    named = [*spider.hosts, *(start.url for start in spider.start)]
    if spider.login is not None:
        named += filter(None, (spider.login.url, spider.login.check_url))
    return frozenset(place for each in named for place in _places(each))


def known_places(spiders: Mapping[str, SpiderTable]) -> frozenset[Place]:
    """Return the hosts and ports that spiders name whose settings allow private addresses."""
    return frozenset(place for spider in spiders.values() if not spider.public_only for place in places_of(spider))


def is_known(urls: Iterable[str], spiders: Mapping[str, SpiderTable]) -> bool:
    """Return whether all URLs lead to hosts that spiders of the settings name."""
    known = known_places(spiders)
    return all(place in known for url in urls for place in _places(url))


def _places(place: str) -> list[Place]:
    host, port = host_and_port(place if "://" in place else f"//{place}")
    return [(host, each) for each in ([port] if port else PORTS.values())] if host else []
