"""What became of one field: old → new as a whole, or word by word where most of it stayed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from pipeline.mail.text import one_line

# A word, one ideograph or syllable of scripts without spaces, white space, or a sign.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|\s+|[^\w\s]")
_CONTEXT = 40
SHORT = 24
LIMIT = 280
_ALIKE = 0.4
_MAX_PAIRS = 4000


@dataclass(frozen=True)
class Span:
    """A piece of a changed text. kind: same, old (only before) or new (only after)."""

    kind: Literal["same", "old", "new"]
    text: str


def spans(before: str, after: str, *, limit: int = LIMIT) -> list[Span]:
    """The difference of two texts, each cut to about `limit` characters around the first difference.

    Short or unlike texts come as one old and one new span.
    """
    before, after = _window(before, after, limit)
    if min(len(before), len(after)) > SHORT:
        old, new = _TOKEN.findall(before), _TOKEN.findall(after)
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        if _pairs(old, new) <= _MAX_PAIRS and matcher.quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE:
            return _by_word(matcher, old, new)
    return [span for span in (Span("old", before), Span("new", after)) if span.text]


def _pairs(old: list[str], new: list[str]) -> int:
    """How many pairs of equal tokens there are: what one step of the matcher costs. Prose has few."""
    counts = Counter(new)
    return sum(counts[token] for token in old)


def _window(before: str, after: str, limit: int) -> tuple[str, str]:
    """Both texts on one line, from shortly before where they part."""
    reach = 200_000  # of a longer text only the beginning is compared
    before, after = one_line(before[:reach]), one_line(after[:reach])
    parted = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]),
                  min(len(before), len(after)))
    start = max(0, parted - _CONTEXT) if parted > _CONTEXT * 2 else 0
    cut = []
    for text in (before, after):
        piece = text[start:start + limit]
        cut.append(("…" if start else "") + piece + ("…" if start + limit < len(text) else ""))
    return cut[0], cut[1]


def _by_word(matcher: SequenceMatcher[str], old: list[str], new: list[str]) -> list[Span]:
    found: list[Span] = []
    for op, i1, i2, j1, j2 in matcher.get_opcodes():
        if op == "equal":
            found.append(Span("same", "".join(old[i1:i2])))
            continue
        if i1 < i2:
            found.append(Span("old", "".join(old[i1:i2])))
        if j1 < j2:
            found.append(Span("new", "".join(new[j1:j2])))
    return found
