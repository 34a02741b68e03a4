"""Python's codecs for the labels of pages, as the Encoding Standard reads them."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

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


_GUESSED = ["cp1252", "cp1251", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"]
_OTHER_SCRIPTS = frozenset(("cp1251", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"))
_LOOKED_AT = 65_536
_FEW = 8
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")


def guessed(body: bytes) -> str:
    """Python's name of the encoding of a text that names none: UTF-8, also with some wrong bytes; else as browsers guess.

    Windows-1252 unless the text is clearly of another script: a guess among Latin encodings changes with each word.
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    text = body.decode("utf-8", "replace")
    wrong, foreign = text.count("\ufffd"), sum(1 for char in text if char > "\x7f")
    if wrong * 2 <= foreign and wrong <= max(1, foreign // 10):
        return "utf-8"
    runs = _BEYOND_ASCII.findall(body)
    if sum(map(len, runs)) < max(_FEW, 2 * len(runs)):  # single letters among ASCII are Latin ones
        return "cp1252"
    looked_at = body if len(body) <= _LOOKED_AT else body[:_LOOKED_AT].rpartition(b"<")[0] or body[:_LOOKED_AT]
    best = from_bytes(looked_at, cp_isolation=_GUESSED).best()
    name = best.encoding if best is not None else ""
    return _SUPERSETS.get(name, name) if name in _OTHER_SCRIPTS else "cp1252"
