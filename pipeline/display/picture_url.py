"""Find the picture of an item: the field that has it, and its URL."""

from __future__ import annotations

import re
from html import unescape
from pathlib import PurePath
from urllib.parse import urlsplit

from pipeline.display.field_text import MAX_URL
from pipeline.display.file_types import kind_of_extension
from pipeline.display.formats import FieldRules
from pipeline.display.item_fields import link_of
from pipeline.display.machine_values import is_picture_name
from pipeline.hosts import host_of
from pipeline.model import Change, Json
from pipeline.urls import absolute

MAX_BYTES = 5_000_000
"""Maximum size of a picture as the site sends it."""
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")
_IMG = re.compile(r"<img\s(?:[^<>]*?\s)?src\s*=\s*[\"']?([^\"'\s>]+)", re.IGNORECASE)
_SRCSET = re.compile(r"\s*(\S+[^\s,])\s+[\d.]+[wx](?:\s*,|\s*$)")
"""The first candidate of an attribute srcset (HTML, 4.8.4.2.1)."""
_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp"})


def picture_url(change: Change, rules: FieldRules) -> tuple[str, str] | None:
    """Return the name of the field with the picture of an item, and the picture's URL; None if the item has no picture.

    This is the field with the format "image"; otherwise the first field whose name says that it is a picture; otherwise the first
    field whose value is a URL that ends in an extension of a picture; otherwise the first field with HTML that contains a picture.
    """
    display = rules.display
    data = {name: value for name, value in change.after.items() if name not in display.hide or display.formats.get(name) == "image"}
    base = _base_of(change, rules)
    named = [name for name in data if display.formats.get(name) == "image"] or [name for name in data if is_picture_name(name)]
    for name in named:
        if url := _url_in(data[name], base):
            return name, url
    for name, value in data.items():
        if isinstance(value, str) and PurePath(_path(value)).suffix.lower() in _EXTENSIONS and (url := _url_in(value, "")):
            return name, url
    for name, value in data.items():
        found = _IMG.search(value) if rules.types.get(name) == "html" and isinstance(value, str) else None
        if found and (url := _url_in(unescape(found[1]), base)):
            return name, url
    return None


def _base_of(change: Change, rules: FieldRules) -> str:
    """Return the URL against which a relative URL is resolved: the item's link, or a start URL if the link leads to another site."""
    link = link_of(change.after, change.key)
    if rules.sources and host_of(link) not in map(host_of, rules.sources):
        return min(rules.sources)
    return link


def _url_in(value: Json, base: str) -> str:
    """Return the URL of a picture in a field's value, or "". base: URL against which a relative URL is resolved; "" if there is none."""
    if isinstance(value, list):
        return next((url for entry in value[:5] if (url := _url_in(entry, base))), "")
    if isinstance(value, dict):
        return next((url for name in ("url", "contentUrl", "src", "href", "@id") if (url := _url_in(value.get(name), base))), "")
    if not isinstance(value, str) or not value.strip() or value.strip().startswith("#"):
        return ""
    if _DATA_URL.match(value):
        return value if len(value) <= 2 * MAX_BYTES else ""
    candidate = _SRCSET.match(value)
    url = absolute(candidate[1] if candidate else value.strip(), base)
    is_picture = url.startswith(("http://", "https://")) and kind_of_extension(_path(url)) in ("picture", None)
    return url if is_picture and len(url) <= MAX_URL else ""


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""
