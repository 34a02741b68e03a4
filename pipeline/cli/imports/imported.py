"""The result of an import: spiders, what could not be carried over, proxies, recipients, secrets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.text import clean_line, counted
from pipeline.workers.plain_session import name_for

_LONGEST_NAME = 40
_LONGEST_TITLE = 100


@dataclass
class ImportedSpider:
    """One spider of an import.

    name: its name in the settings. title: how the source calls it. job: where it is in the source, such as "job 3". table: the keys of
    [spiders.NAME]. left_out: key of the source and the reason, for each value that was not carried over or has another effect.
    """

    name: str
    title: str
    job: str
    table: dict[str, Any]
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def leave_out(self, key: object, why: str) -> None:
        """Record a value that was not carried over or has another effect, once for each key and reason."""
        entry = (clean_line(str(key), 60), clean_line(why, 300))
        if entry not in self.left_out:
            self.left_out.append(entry)


class Imported:
    """Everything that is imported from one file.

    kind: name of the format. source: name of the file. skipped: job and the reason, for each job that became no spider. proxies: entries
    of [proxies]. variables: environment variables that the user sets, and what each contains. recipients: addresses and notify: secret
    references of channels, for the digest. hints: TOML lines that are written as comments. notes: sentences about the whole file.
    """

    def __init__(self, kind: str, source: str, taken: Iterable[str] = ()) -> None:
        """taken: names that spiders, proxies and digests of the settings have already."""
        self.kind = kind
        self.source = source
        self.spiders: list[ImportedSpider] = []
        self.skipped: list[tuple[str, str]] = []
        self.proxies: dict[str, dict[str, Any]] = {}
        self.variables: dict[str, str] = {}
        self.recipients: list[str] = []
        self.notify: list[dict[str, str]] = []
        self.hints: list[str] = []
        self.notes: list[str] = []
        self._taken = set(taken)
        self._secrets: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def spider(self, title: str, url: str, job: str, table: Mapping[str, Any]) -> ImportedSpider:
        """Add a spider, with a name that is made from its title or URL and is not taken."""
        shown = clean_line(title, _LONGEST_TITLE) or clean_line(urlsplit(url).hostname or url, _LONGEST_TITLE)
        found = ImportedSpider(self.free_name(title, name_for(url)), shown, clean_line(job, 150), dict(table))
        self.spiders.append(found)
        return found

    def skip(self, job: str, why: str) -> None:
        """Record a job that becomes no spider."""
        self.skipped.append((clean_line(job, 150), clean_line(why, 300)))

    def note(self, text: str) -> None:
        """Record a sentence about the whole file, once."""
        if text not in self.notes:
            self.notes.append(text)

    def free_name(self, title: str, otherwise: str) -> str:
        """Return a name for an entry of the settings, made from a title, and take it. otherwise: for a title without Latin letters."""
        base = _plain_name(title) or _plain_name(otherwise) or self.kind
        name = self._numbered(base, "-", self._taken)
        self._taken.add(name)
        return name

    def _numbered(self, base: str, separator: str, taken: Container[str]) -> str:
        """Return a name that is not taken: the base, or the base with the first free number. Numbers that were found taken are not tried again."""
        number = self._numbers.get(base, 1)
        name = base if number == 1 else f"{base}{separator}{number}"
        while name in taken:
            number += 1
            name = f"{base}{separator}{number}"
        self._numbers[base] = number
        return name

    def secret(self, value: str, owner: str, label: str, what: str) -> dict[str, str]:
        """Return the reference to a secret, which the user stores in an environment variable. Equal secrets share a variable.

        owner: the entry that needs it. label: the key. what: what the variable contains, as a phrase without the secret.
        """
        if value in self._secrets:
            return {"env": self._secrets[value]}
        base = re.sub(r"[^A-Z0-9]+", "_", f"{owner}_{label}".upper()).strip("_") or "SECRET"
        base = base if base[0].isalpha() else f"{self.kind.upper()}_{base}"
        name = self._numbered(base, "_", self.variables)
        self._secrets[value] = name
        self.variables[name] = clean_line(what, 200)
        return {"env": name}

    def proxy(self, url: str, label: str = "proxy") -> str | None:
        """Return the name of the proxy with this URL in [proxies]; add it if it is new. None if the URL is not that of a proxy."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return None
        if parts.scheme not in ("http", "https", "socks5", "socks5h") or not parts.hostname:
            return None
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        table: dict[str, Any] = {"url": f"{parts.scheme}://{host}" + (f":{port}" if port else "")}
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        known = next((name for name, other in self.proxies.items() if other["url"] == table["url"] and other.get("user", "") == user), None)
        if known is not None:
            return known
        name = self.free_name(label, "proxy")
        if user:
            table["user"] = user
        if password:
            table["password"] = self.secret(password, name, "password", f"the password of the proxy {table['url']}")
        self.proxies[name] = table
        return name

    def recipient(self, address: str) -> None:
        if address and address not in self.recipients:
            self.recipients.append(address)

    @property
    def is_empty(self) -> bool:
        return not self.spiders

    def summary(self) -> str:
        """Return what was read, such as "12 spiders, 3 jobs not carried over"."""
        parts = [counted(len(self.spiders), "spider")]
        if self.proxies:
            parts.append(counted(len(self.proxies), "proxy"))
        if self.skipped:
            parts.append(f"{counted(len(self.skipped), 'job')} not carried over")
        partly = sum(bool(spider.left_out) for spider in self.spiders)
        if partly:
            parts.append(f"{counted(partly, 'spider')} with settings that were not carried over")
        return ", ".join(parts)


@dataclass(frozen=True)
class ImportFormat:
    """A format that `pipeline import` reads.

    read: adds the spiders of a file to an Imported; it gets the path of the file and of the program's configuration, or None. It raises
    UsageError if the file cannot be read as this format. does: what the file is, as a row of docs/import.md. config: the usual name of
    the configuration file, which is read if it is beside the file.
    """

    read: Callable[[Path, Path | None, Imported], None]
    does: str
    config: str = ""


def _plain_name(text: str) -> str:
    """Return a text in lower-case ASCII letters, digits and single hyphens, cut between two words; "" if nothing is left."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(name) > _LONGEST_NAME:
        name = name[:_LONGEST_NAME].rpartition("-")[0] or name[:_LONGEST_NAME]
    return name.strip("-")
