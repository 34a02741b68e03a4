"""Scraped text on its way into a mail: nothing in it may act, hide or break a line it should not."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.price import is_price

# Cc without tab and newline, unpaired surrogates and non-characters: shown, since someone put them there.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
# Bidirectional marks, embeddings, overrides and isolates (UAX #9), and invisible format characters that reorder
# or hide text; ZWJ and ZWNJ stay, since emoji and whole scripts need them.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
                        "\ufff9-\ufffb\U000e0000-\U000e007f]")
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_SPACE = re.compile(r"\s+")
_SCHEME = re.compile(r"https?://[^\s<>\"'`\\]+", re.IGNORECASE)
MAX_URL = 2000
_EXACT = 10.0**15


def clean(text: str) -> str:
    """`text` with one kind of line end, control characters as U+FFFD and invisible ones left out."""
    return _INVISIBLE.sub("", _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _LINE_END.sub("\n", text)))


def one_line(text: str, limit: int = 0) -> str:
    """`text` clean and on one line; cut to `limit` characters with an ellipsis, 0 for no limit."""
    if limit:
        text = text[:limit * 8 + 200]  # white space may collapse; what is far behind the cut cannot show
    line = _SPACE.sub(" ", clean(text)).strip()
    return line if not limit or len(line) <= limit else f"{line[:limit - 1].rstrip()}…"


def shown(value: Any) -> str:
    """A field's value as text: strings as they are, 130.0 as 130, prices as the site writes them,
    lists of scalars with commas, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if is_price(value):
        return str(value["text"])
    if isinstance(value, list) and value and all(map(is_price, value)):
        return ", ".join(str(entry["text"]) for entry in value)
    if isinstance(value, list) and all(isinstance(entry, (str, int, float)) for entry in value):
        return ", ".join(str(entry) for entry in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def safe_link(value: Any) -> str:
    """The absolute http(s) URL that `value` is, in ASCII, or "": no other scheme, no credentials, no white space."""
    if not isinstance(value, str) or len(value) > MAX_URL or not _SCHEME.fullmatch(value):
        return ""
    if clean(value) != value:
        return ""
    try:
        parts = urlsplit(value)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # a bad port or host; UnicodeError is one, too
        return ""
    if not host or "@" in parts.netloc:
        return ""
    host = f"[{host}]" if ":" in host else host
    rest = quote(parts.path, safe="/%:@!$&()*+,;=~-._")
    if parts.query:
        rest += "?" + quote(parts.query, safe="/%:@!$&()*+,;=~-._?")
    if parts.fragment:
        rest += "#" + quote(parts.fragment, safe="/%:@!$&()*+,;=~-._?")
    return f"{parts.scheme.lower()}://{host}{port}{rest}"
