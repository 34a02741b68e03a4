"""Parses the rules and the Crawl-delay in a robots.txt (RFC 9309) as tolerantly as Google's parser."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_PATH = re.compile(r"[^/?#]*//[^/?#]*([^#]*)")
_TOKEN = re.compile(r"[A-Za-z_-]+")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LINE = re.compile(r"\r\n|\r|\n")
_FIELDS = {"user-agent": "agent", "useragent": "agent", "user agent": "agent", "allow": "allow", "crawl-delay": "delay",
           "disallow": "disallow", "dissallow": "disallow", "dissalow": "disallow", "disalow": "disallow",
           "diasllow": "disallow", "disallaw": "disallow"}
"""The known field names, with common misspellings. Other fields are ignored (RFC 9309, 2.2.4)."""


@dataclass(frozen=True)
class _Rule:
    """One Allow or Disallow rule.

    parts: the texts between the asterisks of the rule's path pattern; whole: whether the pattern ends with "$", which means that
    it must match the whole path; octets: the length of the pattern in bytes.
    """

    allow: bool
    parts: tuple[str, ...]
    whole: bool
    octets: int

    def matches(self, path: str) -> bool:
        first, *rest = self.parts
        if not path.startswith(first):
            return False
        at = len(first)
        last = rest.pop() if rest else None
        for part in rest:
            found = path.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        if last is None:
            return not self.whole or at == len(path)
        return len(path) - len(last) >= at and path.endswith(last) if self.whole else path.find(last, at) >= 0


@dataclass
class _Group:
    rules: list[_Rule] = field(default_factory=list)
    delay_s: float | None = None


class RobotsRules:
    """The rules of one robots.txt for one crawler.

    agent: the name of the crawler. If robots.txt has no group for this name, the group for all crawlers ("*") applies.
    """

    def __init__(self, body: bytes, agent: str) -> None:
        groups = _groups(_text(body))
        found = groups.get(agent.lower(), groups.get("*")) if agent else None
        group = found if found is not None else _Group()
        self.delay_s = group.delay_s
        """The Crawl-delay in seconds; None if robots.txt has none."""
        # The longest matching rule applies; of two equally long rules, Allow applies (RFC 9309, 2.2.2).
        self._rules = sorted(group.rules, key=lambda rule: (-rule.octets, not rule.allow))

    def allows(self, url: str) -> bool:
        """Return whether the rules allow the crawler to fetch an absolute URL."""
        path = _path(url)
        return next((rule.allow for rule in self._rules if rule.matches(path)), True)


def _text(body: bytes) -> str:
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body.decode("utf-16", "replace")
    return body.decode("utf-8-sig", "replace")


def _groups(text: str) -> dict[str, _Group]:
    """Return the groups of rules by lower-case agent name. Groups for the same agent are merged."""
    groups: dict[str, _Group] = {}
    named: list[_Group] = []
    begun = False  # whether the current group already has rules; if so, the next User-agent line starts a new group
    for line in _LINE.split(text):
        kind, value = _record(line)
        if kind == "agent":
            if begun:
                named, begun = [], False
            if name := _agent(value):
                named.append(groups.setdefault(name, _Group()))
        elif kind:
            begun = True
            for group in named:
                _add(group, kind, value)
    return groups


def _record(line: str) -> tuple[str, str]:
    line = line.partition("#")[0].strip()
    name, colon, value = line.partition(":")
    if not colon:  # Google's parser accepts a missing colon between two words
        name, _, value = line.partition(" ")
        if len(value.split()) != 1:
            return "", ""
    return _FIELDS.get(name.strip().lower(), ""), value.strip()


def _agent(value: str) -> str:
    """Return the product token at the start of a User-agent value, in lower case; "" for an invalid value.

    The product token of `crawl-to-inbox BAR` and of `crawl-to-inbox/1.0` is `crawl-to-inbox`.
    """
    if value.startswith("*") and not value[1:2].strip():
        return "*"
    token = _TOKEN.match(value)
    return token[0].lower() if token else ""


def _add(group: _Group, kind: str, value: str) -> None:
    if kind == "delay":
        try:
            delay_s = float(value)
        except ValueError:
            return
        if math.isfinite(delay_s) and delay_s >= 0:
            group.delay_s = delay_s
    elif value:
        group.rules += _rules(value, allow=kind == "allow")


def _rules(pattern: str, *, allow: bool) -> Iterable[_Rule]:
    whole = pattern.endswith("$")
    text = _normal(pattern.removesuffix("$") if whole else pattern).replace("$", "%24")
    yield _Rule(allow, tuple(text.split("*")), whole, len(text) + whole)
    if allow and text.endswith("/index.html"):  # as in Google's parser, /folder/index.html also allows /folder/
        text = text.removesuffix("index.html")
        yield _Rule(allow, tuple(text.split("*")), True, len(text) + 1)


def _path(url: str) -> str:
    """Return the path and query of a URL, normalized for the comparison with the patterns of rules.

    The characters "*" and "$", which have a special meaning in rules, are percent-encoded (RFC 9309, 2.2.3).
    """
    found = _PATH.match(url)
    path = found[1] if found else ""
    return _normal(path if path.startswith("/") else f"/{path}").replace("*", "%2A").replace("$", "%24")


def _normal(path: str) -> str:
    """Normalize percent-encoding (RFC 9309, 2.2.2): encode non-ASCII bytes, decode unreserved characters."""
    if not path.isascii():
        path = "".join(char if char < "\x80" else "".join(f"%{octet:02X}" for octet in char.encode("utf-8", "replace"))
                       for char in path)
    return _PERCENT.sub(_normal_octet, path) if "%" in path else path


def _normal_octet(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char in _UNRESERVED else found[0].upper()
