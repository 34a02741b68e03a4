"""Apply `follow` and `download`: find links, filter them by allow, deny and hosts, count the others."""

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
"""Matches the beginning of a link with a host; `mailto:` and `javascript:` have none."""


class UrlFilter:
    """Tests whether a URL is allowed: a pattern of `allow` matches (if there are any) and none of `deny`.

    A pattern with characters beyond ASCII, which no URL contains, is applied to the percent-decoded URL.
    """

    def __init__(self, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
        self._allow = [regex.compile(pattern) for pattern in allow]
        self._deny = [regex.compile(pattern) for pattern in deny]

    def __call__(self, url: str) -> bool:
        """Raises RuleFailedError."""
        if self._allow and not any(_matches(pattern, url) for pattern in self._allow):
            return False
        return not any(_matches(pattern, url) for pattern in self._deny)


def _matches(pattern: regex.Pattern[str], url: str) -> bool:
    return search(pattern, url if pattern.pattern.isascii() else unquote(url)) is not None


def hosts_of(table: SpiderTable) -> HostSet:
    """The hosts that a spider may follow links to: those of its starts and of `hosts`."""
    return HostSet([*(start.url for start in table.start), *table.hosts])


class LinkRules:
    """The rules of `follow` or `download`. allow, deny: regular expressions for the whole URL.

    hosts: the hosts that links may lead to; None: any. for_files: the rules are those of downloads, whose URLs keep all their
    parameters.
    """

    def __init__(self, rules: Iterable[SelectorTable], *, allow: Sequence[str] = (), deny: Sequence[str] = (),
                 drop: Iterable[str] = (), hosts: HostSet | None = None, for_files: bool = False) -> None:
        self._readers = [CompiledRule(rule) for rule in rules]
        self._allowed = UrlFilter(allow, deny)
        self._drop = frozenset(drop)
        self.hosts = hosts
        self._known_offsite: set[str] = set()
        self._offsite: list[str] = []
        self._for_files = for_files

    @classmethod
    def to_follow(cls, table: SpiderTable) -> Self:
        """The rules of a spider's `follow`, with its allow, deny, drop_params and hosts."""
        return cls(table.follow, allow=table.allow, deny=table.deny, drop=table.drop_params, hosts=hosts_of(table))

    def links(self, document: Document) -> list[str]:
        """Absolute http(s) URLs without fragments, each once, in the order of the page. Raises RuleFailedError.

        For files also ftp: URLs, which the download pool refuses with a reason.
        """
        found: dict[str, None] = {}
        for reader in self._readers:
            for link in dict.fromkeys(reader.links(document)):
                url = document.absolute(link) or (ftp(link) if self._for_files else "")
                if not url and not self._for_files and _ADDRESS.match(link):
                    self._leave_out(link.strip())
                if url and not self._for_files:
                    url = without_tracking(url, self._drop)
                if url and url not in found and self._allowed(url):
                    found[url] = None
        own = self._own_prefix(document.url)
        return [url for url in found if url.startswith(own) or self.is_here(url)]

    def _own_prefix(self, url: str) -> str | tuple[()]:
        """How URLs of a page's own origin begin, if that is one of the hosts. Nearly all links of a page do."""
        if self.hosts is None or url not in self.hosts:
            return ()
        return "/".join(url.split("/", 3)[:3]) + "/"

    def is_here(self, url: str) -> bool:
        """Whether a URL leads to one of the hosts. Others are added to left_out()."""
        if self.hosts is None or url in self.hosts:
            return True
        self._leave_out(url)
        return False

    def _leave_out(self, url: str) -> None:
        if url not in self._known_offsite and len(self._known_offsite) < _MAX_OFFSITE:
            self._known_offsite.add(url)
            self._offsite.append(url)

    def left_out(self) -> list[str]:
        """Links left out since the last call: to other hosts, or to hosts that no browser opens. Each is returned once, as long
        as there are no more than _MAX_OFFSITE."""
        found, self._offsite = self._offsite, []
        return found


def left_out_note(urls: Collection[str]) -> str:
    """ "2 links left out: other hosts: www.site.example; add it to hosts", "" for none."""
    nowhere = [url for url in urls if not absolute(url) or not host_and_port(url)[1]]  # no browser opens port 0
    return "; ".join(filter(None, (
        _offsite_note([url for url in urls if url not in nowhere]),
        f"{counted(len(nowhere), 'link')} left out: no host that browsers open: {shown_url(min(nowhere))}" if nowhere else "")))


def _offsite_note(urls: Collection[str]) -> str:
    if not urls:
        return ""
    places = [place for place, _ in Counter(map(place_of, urls)).most_common(4)]
    named = ", ".join(places[:3]) + (", …" if len(places) > 3 else "")
    return (f"{counted(len(urls), 'link')} left out: other hosts: {named}; add {'it' if len(places) == 1 else 'them'} to hosts"
            f"{'' if len(places) == 1 else ' if they belong to the site'}")
