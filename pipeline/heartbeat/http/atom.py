"""Atom feeds (RFC 4287) for feed readers: how runs ended, and which items of a spider changed.

A feed reader can send neither a cookie nor an Authorization header, so the URL of a feed contains a key. This key gives
access to feeds, but not to pages or actions.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.model import Change, PagePicture
from pipeline.text import counted

ENTRIES = 100
TYPE = "application/atom+xml"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Entry:
    """An entry of an Atom feed.

    id: identifies the entry, and never changes. href: URL of the page that the entry links to; "" means no link.
    """

    id: str
    title: str
    at: datetime
    text: str
    href: str


def runs_ended(snapshot: Snapshot, service: str) -> list[Entry]:
    """Return an entry for each of the last runs of all spiders, newest first.

    service: an identifier of this service, which makes the ids of its entries different from those of other services.
    """
    found = [Entry(_id(service, "run", run["id"]), f"{name}: {run['outcome'] or 'ended'}", datetime.fromisoformat(run["ended_at"]),
                   run["error"] or f"{counted(run['pages'], 'page')}, {counted(run['items'], 'item')}", f"/runs/{run['id']}")
             for name, spider in snapshot["spiders"].items() for run in spider["recent"] if run["ended_at"]]
    return sorted(found, key=lambda entry: entry.at, reverse=True)[:ENTRIES]


def changed_items(changes: list[Change], service: str) -> Iterator[Entry]:
    for change in changes[:ENTRIES]:
        links = (change.key, change.after.get("url"), change.before.get("url"))
        yield Entry(_id(service, "change", change.id), f"{change.kind.value}: {_name(change)}", change.at, _fields(change),
                    next((str(text) for text in links if _is_web_url(text)), ""))


def xml_text(text: str) -> str:
    """Return `text` with every character that XML 1.0 (section 2.2) forbids replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def _id(service: str, kind: str, number: int) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{service}/{kind}/{number}").urn


def _name(change: Change) -> str:
    fields = change.after or change.before
    return str(next((fields[name] for name in ("title", "name", "headline") if fields.get(name)), change.key))


def _fields(change: Change) -> str:
    def said(value: object) -> str:
        picture = PagePicture.of(value, change.spider)
        return picture.file if picture is not None else "–" if value is None or value == "" else str(value)

    return "; ".join(f"{name}: {said(change.after.get(name))}" if not change.before else
                     f"{name}: {said(change.before.get(name))} → {said(change.after.get(name))}" for name in change.fields)


def _is_web_url(text: object) -> bool:
    """Return whether a scraped value is an http or https URL and may therefore be used as a link."""
    if not isinstance(text, str):
        return False
    try:
        return urlsplit(text).scheme in {"http", "https"}
    except ValueError:
        return False
