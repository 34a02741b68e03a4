"""Python's codecs for the labels of pages, as the Encoding Standard reads them."""

from __future__ import annotations

import codecs

# What the Encoding Standard reads under these labels (python's name on the right).
_SUPERSETS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
              "euc_kr": "cp949", "big5": "big5hkscs"}


def codec(label: str) -> str | None:
    """Python's name for an encoding's label; None for one that it does not know."""
    try:
        name = codecs.lookup(label.strip()).name
        b"".decode(name)  # raises for rot13 and other codecs that are no text encodings
    except (LookupError, ValueError):
        return None
    return _SUPERSETS.get(name, name)
