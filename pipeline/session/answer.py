"""What a site answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A page read whole. url: after redirects, of which there were `hops`."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    hops: int = 0
