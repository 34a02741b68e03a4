"""The short text that a notification channel shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.languages.phrase import Phrase
from pipeline.text import clean_line

MAX_LINES = 12
LINE_LENGTH = 200


@dataclass(frozen=True)
class ChannelText:
    """The text of a message for a channel. Each service has its own limits, so the text is cut when it is sent.

    lines: the first changes or problems. more: for each number of lines that are shown, from 0 to all, the text about those that are
    not shown; "" if there are none. link: URL of the pages, or "".
    """

    subject: str
    lines: tuple[str, ...]
    more: tuple[str, ...]
    link: str = ""
    kind: Literal["digest", "alert"] = "digest"

    @classmethod
    def of(cls, subject: str, lines: Sequence[str], *, total: int, more: Phrase, link: str = "",
           kind: Literal["digest", "alert"] = "digest", before: Sequence[str] = ()) -> ChannelText:
        """total: number of changes or problems, of which `lines` are the first. more: the phrase that names a number of further ones.
        before: lines about all of them, which come first.
        """
        shown = tuple(clean_line(line, LINE_LENGTH) for line in [*before, *lines][:MAX_LINES])
        left = [max(total, len(shown) - len(before)) - max(0, count - len(before)) for count in range(len(shown) + 1)]
        return cls(clean_line(subject), shown, tuple(more.format(n=count) if count else "" for count in left), link, kind)

    def __str__(self) -> str:
        """Return the text as a channel without limits shows it."""
        return "\n".join(filter(None, (self.subject, *(f"• {line}" for line in self.lines), self.more[-1], self.link))) + "\n"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_bytes(self) -> bytes:
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=1).encode()
