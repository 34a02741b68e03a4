"""Notes of a mail about what it does not show, or how it was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A line of text. link: a URL with more about it, which is shown as `link_text`; "" if there is none."""

    text: str
    link: str = ""
    link_text: str = ""
