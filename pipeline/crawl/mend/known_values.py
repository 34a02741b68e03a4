"""The stored values that are searched in the new pages.

What identifies a record, and how values are compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.crawl.mend.fields.date_formats import is_same_day
from pipeline.model import Json
from pipeline.price import is_price, same

EMPTY: tuple[Json, ...] = (None, "", [], {})
MAX_RECORDS = 2000
"""The maximum number of stored items whose values are searched."""
_LONGEST = 4000
_MARKUP = re.compile(r"<[^>]{0,1000}>")
_WORD = re.compile(r"\w+")
_MIN_DIGITS = 4
_SEVERAL = -1


def fold(text: str) -> str:
    """Return a text in the form in which texts are compared: compatibility characters, white space and case do not count."""
    line = " ".join(text.split())
    return line.casefold() if line.isascii() else unicodedata.normalize("NFKC", line).casefold()


def texts_of(value: Json) -> Iterator[str]:
    """Yield the texts that a page may contain for a stored value."""
    if isinstance(value, str):
        yield value
        if "<" in value and ">" in value:
            yield _MARKUP.sub("", value)
    elif is_price(value):
        yield str(value["text"])
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, (int, float)):
        yield str(value)
    elif isinstance(value, list):
        for entry in value:
            yield from texts_of(entry)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from texts_of(entry)


def agrees(known: Json, found: Json, *, kind: str = "text") -> bool:
    """Return whether a value on the new page is the stored value.

    kind: the type of the field. Of HTML only the texts are compared, since a redesign changes the markup. A date without a time of
    day agrees with one that has a time.
    """
    if known in EMPTY and found in EMPTY:
        return True
    if kind == "date" and is_same_day(known, found):
        return True
    if kind == "html" and isinstance(known, str) and isinstance(found, str):
        return fold(_MARKUP.sub("", known)) == fold(_MARKUP.sub("", found))
    return same(known, found)


@dataclass(frozen=True)
class Words:
    """A stored text as a sequence of words, to find it inside a longer text."""

    record: int
    field: str
    words: tuple[str, ...]


class KnownValues:
    """The data of stored items, and which texts occur in only one of them.

    records: the data of the items. A record is named by its index in this list. owners: for each text that only one record has, the
    record and its field. weak_owners: the same for keys that are too short to identify a record anywhere on a page, such as "7".
    """

    def __init__(self, records: Sequence[Mapping[str, Json]], key: Sequence[str]) -> None:
        self.records = list(records[:MAX_RECORDS])
        self.key = frozenset(key)
        self.owners: dict[str, tuple[int, str]] = {}
        self.weak_owners: dict[str, tuple[int, str]] = {}
        for at, record in enumerate(self.records):
            for name, value in record.items():
                for text in texts_of(value):
                    self._add(at, name, fold(text[:_LONGEST]))
        self.owners = {text: owner for text, owner in self.owners.items() if owner[0] != _SEVERAL}
        self.weak_owners = {text: owner for text, owner in self.weak_owners.items() if owner[0] != _SEVERAL}
        self._by_first_word: dict[str, list[Words]] = {}
        self._folded: dict[int, dict[str, frozenset[str]]] = {}

    def _add(self, record: int, name: str, text: str) -> None:
        is_strong = len(text) > 2 and (not text.isdigit() or len(text) >= _MIN_DIGITS)
        if not is_strong and (name not in self.key or not text):
            return
        owners = self.owners if is_strong else self.weak_owners
        owner = owners.setdefault(text, (record, name))
        if owner[0] != record:
            owners[text] = (_SEVERAL, name)

    def fields_in(self, record: int, texts: frozenset[str]) -> set[str]:
        """Return the names of the fields of a record that have one of these folded texts as their value."""
        if record not in self._folded:
            self._folded[record] = {name: frozenset(fold(text[:_LONGEST]) for text in texts_of(value))
                                    for name, value in self.records[record].items()}
        return {name for name, values in self._folded[record].items() if not values.isdisjoint(texts)}

    def in_words(self, text: str) -> Iterator[Words]:
        """Yield the identifying texts that occur as whole words inside a text."""
        if not self._by_first_word:
            for known, (record, name) in self.owners.items():
                words = tuple(_WORD.findall(known))
                if len(known) >= 5 and words and "://" not in known:
                    self._by_first_word.setdefault(words[0], []).append(Words(record, name, words))
        found = _WORD.findall(text)
        for place, word in enumerate(found):
            for candidate in self._by_first_word.get(word, ()):
                if tuple(found[place:place + len(candidate.words)]) == candidate.words:
                    yield candidate
