"""Apply the rules `follow` and `download`: find links, and filter them by `allow`, `deny` and `hosts`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Self
from urllib.parse import unquote

import regex

from pipeline.crawl.extract.link_cleaning import ftp, without_tracking
from pipeline.crawl.extract.rules import CompiledRule
from pipeline.documents.document import Document
from pipeline.documents.regexes import search
from pipeline.hosts import HostSet, host_and_port, place_of
from pipeline.settings import SelectorTable, SpiderTable
from pipeline.text import counted, shown_url
from pipeline.urls import absolute

_MAX_OFFSITE = 10_000
_ADDRESS = re.compile(r"\s*(https?:|[/\\]{2})", re.IGNORECASE)
"""Matches the beginning of a link that has a host, unlike a `mailto:` or `javascript:` link."""


class UrlFilter:
    """Tests whether a URL is allowed by the patterns of `allow` and `deny`.

    The URL must match at least one pattern of `allow` (if `allow` is not empty) and no pattern of `deny`. A pattern with
    non-ASCII characters, which a URL cannot contain, is applied to the percent-decoded URL.
    """

    def __init__(self, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
        self._allow = [regex.compile(pattern) for pattern in allow]
        self._deny = [regex.compile(pattern) for pattern in deny]

    def __call__(self, url: str) -> bool:
        """Return whether the URL is allowed. Raise RuleFailedError if a pattern takes too long."""
        if self._allow and not any(_matches(pattern, url) for pattern in self._allow):
            return False
        return not any(_matches(pattern, url) for pattern in self._deny)


def _matches(pattern: regex.Pattern[str], url: str) -> bool:
    return search(pattern, url if pattern.pattern.isascii() else unquote(url)) is not None


def hosts_of(table: SpiderTable) -> HostSet:
    """Return the hosts to which a spider may follow links: the hosts in its `start` and `hosts` settings."""
    return HostSet([*(start.url for start in table.start), *table.hosts])


class LinkRules:
    """Finds and filters the links of a page by the rules of `follow` or `download`.

    allow, deny: regular expressions that are searched in the whole URL. drop: names of URL parameters to remove. hosts: the hosts
    that links may lead to; None means any host. for_files: whether these are the rules of `download`; if so, tracking parameters
    are not removed from the links.
    counts: the matches of each rule on the page of the last call of links() (see `Page.counts`). The rule "allow" stands for
    `allow` and `deny` together: its matches are the links that they leave.
    """

    def __init__(self, rules: Iterable[SelectorTable], *, allow: Sequence[str] = (), deny: Sequence[str] = (),
                 drop: Iterable[str] = (), hosts: HostSet | None = None, for_files: bool = False) -> None:
        self._readers = [CompiledRule(rule) for rule in rules]
        name = "download" if for_files else "follow"
        self._names = [name] if len(self._readers) == 1 else [f"{name}[{place}]" for place in range(len(self._readers))]
        self._filters = bool(allow or deny)
        self.counts: dict[str, tuple[int, int]] = {}
        self._allowed = UrlFilter(allow, deny)
        self._drop = frozenset(drop)
        self.hosts = hosts
        self._known_offsite: set[str] = set()
        self._offsite: list[str] = []
        self._for_files = for_files

    @classmethod
    def to_follow(cls, table: SpiderTable) -> Self:
        """Return the rules of a spider's `follow`, with its `allow`, `deny`, `drop_params` and `hosts`."""
        return cls(table.follow, allow=table.allow, deny=table.deny, drop=table.drop_params, hosts=hosts_of(table))

    def links(self, document: Document) -> list[str]:
        """Return the links of a page as absolute http(s) URLs, without fragments and without duplicates.

        The rules of `download` also return ftp: URLs, so that the download pool can report them as failed. Raise RuleFailedError
        if a rule cannot be applied to the page.
        """
        found: dict[str, None] = {}
        self.counts = {}
        matches = 0
        for name, reader in zip(self._names, self._readers, strict=True):
            links = dict.fromkeys(reader.links(document))
            self.counts[name] = (len(links), 0)
            matches += len(links)
            for link in links:
                url = document.absolute(link) or (ftp(link) if self._for_files else "")
                if not url and not self._for_files and _ADDRESS.match(link):
                    self._leave_out(link.strip())
                if url and not self._for_files:
                    url = without_tracking(url, self._drop)
                if url and url not in found and self._allowed(url):
                    found[url] = None
        if self._filters and matches:
            self.counts["allow"] = (len(found), 0)
        own = self._own_prefix(document.url)
        return [url for url in found if url.startswith(own) or self.is_here(url)]

    def _own_prefix(self, url: str) -> str | tuple[()]:
        """Return the beginning of the page's URL (scheme and host); () if links to this host are not allowed.

        The host of a link with this beginning needs no further check, and most links of a page have this beginning.
        """
        if self.hosts is None or url not in self.hosts:
            return ()
        return "/".join(url.split("/", 3)[:3]) + "/"

    def is_here(self, url: str) -> bool:
        """Return whether a URL leads to one of the allowed hosts.

        If not, record the URL, so that left_out() returns it.
        """
        if self.hosts is None or url in self.hosts:
            return True
        self._leave_out(url)
        return False

    def _leave_out(self, url: str) -> None:
        if url not in self._known_offsite and len(self._known_offsite) < _MAX_OFFSITE:
            self._known_offsite.add(url)
            self._offsite.append(url)

    def left_out(self) -> list[str]:
        """Return the links that were not followed because of their host, except those that an earlier call returned.

        These links lead to other hosts or have an invalid host or port. All calls together return at most _MAX_OFFSITE links.
        """
        found, self._offsite = self._offsite, []
        return found


def left_out_note(urls: Collection[str]) -> str:
    """Return a note for the run's summary line about links that were not followed because of their host; "" for no links."""
    nowhere = [url for url in urls if not absolute(url) or not host_and_port(url)[1]]  # browsers do not open port 0
    return "; ".join(filter(None, (
        _offsite_note([url for url in urls if url not in nowhere]),
        f"{counted(len(nowhere), 'link')} {'was' if len(nowhere) == 1 else 'were'} not followed because the host or port is not valid, such as "
        f"{shown_url(min(nowhere))}" if nowhere else "")))


def _offsite_note(urls: Collection[str]) -> str:
    if not urls:
        return ""
    places = [place for place, _ in Counter(map(place_of, urls)).most_common(4)]
    named = ", ".join(places[:3]) + (", …" if len(places) > 3 else "")
    return (f"{counted(len(urls), 'link')} to other hosts {'was' if len(urls) == 1 else 'were'} not followed: {named}; add "
            + ("the host to `hosts` if it belongs to the site" if len(places) == 1 else "the hosts to `hosts` if they belong to the site"))
