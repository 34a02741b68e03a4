"""Convert the values of item fields to text, and check which values may become links in a mail."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.model import PICTURES
from pipeline.price import is_price
from pipeline.text import clean_text

_SCHEME = re.compile(r"https?://[^\s<>\"'`\\]+", re.IGNORECASE)
MAX_URL = 2000
_EXACT = 10.0**15


def field_text(value: Any) -> str:
    """Return a field's value as text.

    A string is returned unchanged, 130.0 becomes "130", and a price is returned as the site writes it. The entries of a list of
    scalars or prices are joined with commas. The stored picture of a page becomes its key. Any other value is returned as JSON.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if is_price(value):
        return str(value["text"])
    if isinstance(value, dict) and str(value.get("file", "")).startswith(f"{PICTURES}/"):
        return str(value["file"])
    if isinstance(value, list) and value and all(map(is_price, value)):
        return ", ".join(str(entry["text"]) for entry in value)
    if isinstance(value, list) and all(isinstance(entry, (str, int, float)) for entry in value):
        return ", ".join(str(entry) for entry in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def safe_link(value: Any) -> str:
    """Return `value` as a URL in ASCII if a mail may link to it, otherwise "".

    A mail may link to an absolute http(s) URL without credentials, white space or invisible characters.
    """
    if not isinstance(value, str) or len(value) > MAX_URL or not _SCHEME.fullmatch(value):
        return ""
    if clean_text(value) != value:
        return ""
    try:
        parts = urlsplit(value)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # an invalid port or host name; UnicodeError is a subclass of ValueError
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
