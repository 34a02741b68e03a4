"""Show how a field changed: as old → new, word by word, or at several places in a long text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Literal

import regex

from pipeline.text import clean_line, clean_text

# A token is a number, a word, a character of a script without spaces (CJK), white space, or any other character, each with its
# combining marks.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = regex.compile(rf"\d+(?:[.,'’\u066b\u066c]\d+)+|(?:[{_CJK}]|(?:[^\W\d{_CJK}]\p{{M}}*|\d)+|\s+|[^\w\s])\p{{M}}*|\p{{M}}")
_WIDE = re.compile(f"[{_CJK}]")
_SPLITS = (re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])"), re.compile(r"(?<=[,;:|·•])\s+|(?<=[，；：、])"), re.compile(r"\s+"))
"""Where a line that is too long to be shown is split: between sentences, then between clauses, then between words."""
_CONTEXT = 40
SHORT = 24
"""If one of two texts is at most this wide, both are shown as a whole (old → new). A CJK character is two columns wide."""
LIMIT = 280
MAX_COMPARED = 200_000
"""Maximum number of characters that are compared. The rest of a longer text is ignored."""
_ALIKE = 0.4
_MAX_PAIRS = 4000
_MAX_WORDS = 6
"""If more words than this differ in a long clause, the clause is not shown word by word."""
_MAX_SPANS = 24
"""If a place has more spans than this, it is not shown word by word, but as a whole (old → new)."""


@dataclass(frozen=True)
class Span:
    """A piece of a changed text.

    kind: "same" for text in both versions, "old" for text only before the change, "new" for text only after the change.
    """

    kind: Literal["same", "old", "new"]
    text: str


@dataclass(frozen=True)
class Place:
    """One place where two texts differ, as a sequence of unchanged, old and new spans."""

    spans: list[Span]

    @property
    def whole(self) -> bool:
        """Whether the place is shown as a whole (old → new) instead of word by word."""
        return all(span.kind != "same" for span in self.spans)

    @property
    def parted(self) -> list[tuple[Span, bool]]:
        """The spans of the place, each with a flag: whether a space must precede the span.

        Without the space, two words would look like one word, and spam filters treat an HTML tag inside a word as hidden text.
        """
        ends = ["", *(span.text for span in self.spans)]
        return [(span, _is_in_word(end[-1:]) and _is_in_word(span.text[:1])) for span, end in zip(self.spans, ends, strict=False)]


def _is_in_word(character: str) -> bool:
    return character.isalnum() and not _WIDE.match(character)


def places(before: str, after: str, *, most: int = 1000, limit: int = LIMIT) -> tuple[list[Place], int]:
    """Return the first `most` places where two texts differ, and the number of further places.

    If a text has several lines, the texts are compared line by line, and long lines sentence by sentence. Differences in white space are
    ignored. limit: maximum number of characters of the old text and of the new text of a place.
    """
    if before.strip() and after.strip():
        pairs = [piece for old, new in _changed_pieces(_lines(before), _lines(after)) for piece in _split(old, new, limit, _SPLITS)]
        return [_place(*pair, limit) for pair in pairs[:most]], max(0, len(pairs) - most)
    found = spans(before, after, limit=limit)
    return ([Place(found)], 0) if found else ([], 0)


_Pair = tuple[str | None, str | None]
"""The old and the new version of a piece of text; None for a piece that was added or removed."""


def _split(old: str | None, new: str | None, limit: int, splits: Sequence[re.Pattern[str]]) -> list[_Pair]:
    """Return the parts that differ of two versions of a line, if the line is too long to be shown at once."""
    if old is None or new is None or not splits or max(len(old), len(new)) <= limit:
        return [(old, new)]
    pairs = _changed_pieces(splits[0].split(old), splits[0].split(new))
    if len(splits) == 1 and len(pairs) > _MAX_WORDS:
        return [(old, new)]
    return [part for pair in pairs for part in _split(*pair, limit, splits[1:])]


def _changed_pieces(old: list[str], new: list[str]) -> list[_Pair]:
    """Return both versions of each piece that differs. If a comparison would take too long, all pieces are one pair."""
    start = next((at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new)))
    rest = min(len(old), len(new)) - start
    end = next((at for at in range(rest) if old[-1 - at] != new[-1 - at]), rest)
    old, new = old[start:len(old) - end], new[start:len(new) - end]
    found: list[_Pair] = list(_changed_lines(old, new)) if _pairs(old, new) <= _MAX_PAIRS else [(" ".join(old), " ".join(new))]
    if len(old) == len(new):  # perhaps nothing was added or removed, which the comparison above does not see in a text that repeats itself
        in_place: list[_Pair] = [pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]]
        if len(in_place) < len(found) or (len(found) == 1 and len(in_place) <= len(old) // 2):
            return in_place
    return found


def _lines(text: str) -> list[str]:
    return [line for line in map(clean_line, clean_text(text[:MAX_COMPARED]).split("\n")) if line]


def _changed_lines(old: list[str], new: list[str]) -> Iterator[_Pair]:
    """Yield the old and the new version of each line that differs.

    The old version of an added line is None, and so is the new version of a removed line.
    """
    for op, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if op == "equal":
            continue
        yield from _paired(old[i1:i2], new[j1:j2])


def _paired(old: list[str], new: list[str]) -> Iterator[_Pair]:
    """Yield the differing lines of two versions of a block, each with its other version, if it has one.

    Lines with many words in common are versions of each other; between those, lines are paired in their order.
    """
    i1 = j1 = 0
    for i2, j2 in [*_similar(old, new), (len(old), len(new))]:
        yield from zip_longest(old[i1:i2], new[j1:j2])
        if i2 < len(old):
            yield old[i2], new[j2]
        i1, j1 = i2 + 1, j2 + 1


def _similar(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """Return the indexes of lines that have many words in common: the longest such list in the order of both versions.

    Return no pair if the numbers of lines are the same, or if the comparison would take too long.
    """
    if len(old) == len(new) or len(old) * len(new) > _MAX_PAIRS // 4:
        return []
    words = [[Counter(token for token in _TOKEN.findall(line[:LIMIT * 4]) if not token.isspace()) for line in lines] for lines in (old, new)]
    best: list[list[tuple[float, tuple[tuple[int, int], ...]]]] = [[(0, ())] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, here in enumerate(words[0]):
        for j, there in enumerate(words[1]):
            likeness = 2 * (here & there).total() / max(1, here.total() + there.total())
            found = max(best[i][j + 1], best[i + 1][j], key=lambda one: one[0])
            if likeness > _ALIKE and best[i][j][0] + likeness > found[0]:
                found = best[i][j][0] + likeness, (*best[i][j][1], (i, j))
            best[i + 1][j + 1] = found
    return list(best[-1][-1][1])


def _place(old: str | None, new: str | None, limit: int) -> Place:
    if old is not None and new is not None:
        return Place(spans(old, new, limit=limit))
    return Place([Span("old", _beginning(old, limit))] if old is not None else [Span("new", _beginning(new or "", limit))])


def _beginning(line: str, limit: int) -> str:
    return line if len(line) <= limit else f"{line[:limit - 1]}…"


def spans(before: str, after: str, *, limit: int = LIMIT) -> list[Span]:
    """Return the differences of two texts as unchanged, old and new spans.

    limit: maximum number of characters of each text that are shown; both texts are cut around their first difference. If the texts are
    short or have little in common, the result is one old span and one new span. If they differ only in white space, the result is
    empty.
    """
    before, after = _window(before, after, limit)
    if before == after:
        return []
    if min(_columns(before), _columns(after)) > SHORT:
        old, new = _TOKEN.findall(before), _TOKEN.findall(after)
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        if _pairs(old, new) <= _MAX_PAIRS and matcher.quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE:
            found = _by_word(matcher, old, new)
            if len(found) <= _MAX_SPANS:
                return found
    return [span for span in (Span("old", before), Span("new", after)) if span.text]


def _columns(text: str) -> int:
    return len(text) + len(_WIDE.findall(text))


def _pairs(old: Sequence[str], new: Sequence[str]) -> int:
    """Return the number of pairs of an old and a new token that are equal.

    The matcher takes longer the larger this number is. The number is small for ordinary prose.
    """
    counts = Counter(new)
    return sum(counts[token] for token in old)


def _window(before: str, after: str, limit: int) -> tuple[str, str]:
    """Return one line of each text, beginning shortly before the first difference of the texts.

    limit: maximum number of characters of each line, not counting the ellipses.
    """
    before, after = clean_line(before[:MAX_COMPARED]), clean_line(after[:MAX_COMPARED])
    differs_at = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]),
                  min(len(before), len(after)))
    start = max(0, differs_at - _CONTEXT) if differs_at > _CONTEXT * 2 else 0
    if start and (word := re.search(r"\s|(?<=[^\w\s])", before[start - 1:differs_at - 1])):
        start += word.start()  # the piece begins with a whole word
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
