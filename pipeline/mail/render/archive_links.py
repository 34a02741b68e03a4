"""Links from the changes in a mail to the archived pages on which they were found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.archive.reading.links import path_at, path_of_both
from pipeline.languages import Wording
from pipeline.model import Change, ChangeKind


@dataclass(frozen=True)
class ArchiveLink:
    """A link to the heartbeat's pages with its text."""

    text: str
    url: str


@dataclass(frozen=True)
class ArchiveLinks:
    """Makes the links. origin: public URL of the heartbeat; "" if it has none, then there are no links. public: returns a URL as a mail may show it; "" if it may not."""

    origin: str = ""
    public: Callable[[str], str] = lambda url: ""

    def of(self, change: Change, words: Wording) -> ArchiveLink | None:
        """Return the link of a change to its archived page, or to the pages before and after it; None if the spider does not archive pages."""
        if not self.origin or not change.page_url or urlsplit(self.public(change.page_url)) != urlsplit(change.page_url):
            return None
        if change.kind is ChangeKind.NEW:
            return ArchiveLink(words.archived_page, self.origin + path_at(change.spider, change.page_url, change.at))
        return ArchiveLink(words.archived_pages, self.origin + path_of_both(change.spider, change.page_url, change.at, change.run_id))
