"""Say what a text probably means that names no spider."""

from __future__ import annotations

import re

from pipeline.registry import BUILT_IN_SPIDERS
from pipeline.settings.fields.scalars import nearest

_OTHER_NAMES = {"rss": "feed", "atom": "feed", "xml": "sitemap", "html": "crawl", "page": "watch", "scrapy": "crawl"}


def spider_hint(value: str) -> str:
    """Return what a text that names no spider probably means, such as " (did you mean 'feed'?)"; "" if that is unknown."""
    if match := re.fullmatch(r"(?:\./)?([\w/]+)\.py(?::(\w+))?", value):
        return f' (a module is written as "{match[1].replace("/", ".")}:{match[2] or "Class"}")'
    if match := re.fullmatch(r"([\w./-]+\.py)", value):
        return f' (write the class after the file, as in "{match[1]}:Class")'
    if match := re.fullmatch(r"([A-Za-z_][\w.]*)\.([A-Z]\w*)", value):
        return f' (did you mean "{match[1]}:{match[2]}"?)'
    return f" (did you mean {_OTHER_NAMES[value.lower()]!r}?)" if value.lower() in _OTHER_NAMES else nearest(value, BUILT_IN_SPIDERS)
