"""Recognize field values that are meant for machines.

Ids, keys, hashes, the URLs of feeds and pictures. Mails leave them out by default.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from pipeline.model import Json

_ID_NAME = re.compile(r"(?:.*[_\-. ])?(?:u|gu|uu)?ids?|.*(?:[a-z](?:Id|ID)|Uuid|UUID)|(?:.*_)?(?:key|hash|digest|checksum|etag|nonce|token|md5|sha1|sha256|sha512)",
                      re.ASCII)
"""Names of fields that usually have ids, keys or hashes, such as id, guid, item_id, itemId and sha256."""
_UUID = re.compile(r"\{?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\}?", re.IGNORECASE)
_HEX = re.compile(r"(?:[\w-]{2,10}:)?(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{16,}", re.IGNORECASE)
_URI = re.compile(r"(?:tag|urn|oid|yt:\w+|guid):\S+", re.IGNORECASE)
_TOKEN = re.compile(r"(?=[^/]*\d)(?=[^/]*[a-z])(?=[^/]*[A-Z])[A-Za-z0-9+/_-]{32,}={0,2}")
_FEED = re.compile(r"/(?:feeds?|rss|atom)(?:2(?:\.0)?)?/?$|/(?:[\w-]*(?:feed|rss|atom)[\w-]*|index)\.(?:xml|json|php)$|\.(?:rss|atom|rdf)$"
                   r"|\?(?:.*&)?(?:feed|format|alt)=(?:rss|atom|feed)", re.IGNORECASE)

_PICTURE_NAMES = frozenset({"image", "picture", "photo", "thumbnail", "thumb", "cover", "poster", "img", "pic", "bild", "foto"})
_CHINESE_PICTURE_NAMES = ("图片", "封面", "照片", "图像", "缩略图")
_MAX_DEPTH = 20
_LONGEST = 2000
"""Longer values are never recognized."""


def is_empty(value: Json, depth: int = 0) -> bool:
    """Return whether a value has nothing to show: no text, no entry, or only entries with nothing to show."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, (dict, list)) and depth < _MAX_DEPTH:
        return all(is_empty(entry, depth + 1) for entry in (value.values() if isinstance(value, dict) else value))
    return value is None


def is_for_machines(name: str, value: Json, *, sources: Collection[str]) -> bool:
    """Return whether a value says nothing to people.

    These are UUIDs, hashes, tokens and URIs that are no URLs under any name; values of one word in a field whose name is that of an id;
    the URLs of feeds and pictures, and the URLs with which the spider starts (`sources`).
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return False
    text = value.strip() if isinstance(value, str) else "0"  # an integer is an id only by its name
    if not text or len(text) > _LONGEST or re.search(r"\s", text):
        return False
    if text.startswith(("http://", "https://")):
        return text in sources or _is_feed(text) or is_picture_name(name) or bool(_ID_NAME.fullmatch(name))
    return bool(_UUID.fullmatch(text) or _HEX.fullmatch(text) or _URI.fullmatch(text) or _TOKEN.fullmatch(text) or _ID_NAME.fullmatch(name))


def _is_feed(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(_FEED.search(f"{parts.path}?{parts.query}" if parts.query else parts.path))


def is_picture_name(name: str) -> bool:
    """Return whether a field's name contains a word for a picture, as in cover, imageUrl, product_images or 图片地址."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    words = {word.removesuffix("s") for word in re.findall(r"[a-z]+", spaced)}
    return not words.isdisjoint(_PICTURE_NAMES) or any(word in spaced for word in _CHINESE_PICTURE_NAMES)
