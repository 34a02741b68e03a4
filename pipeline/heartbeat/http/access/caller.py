"""The person or script that sends a request."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.store.access.api_tokens import RESERVED, Scope


@dataclass(frozen=True)
class Caller:
    """Who sends a request. name: the name of the token. source: the client's IP address, or "Unix socket".

    by_header: whether the token is in the header Authorization, which no web site can make a browser send.
    """

    name: str
    scope: Scope
    source: str
    by_header: bool = True

    @property
    def may_act(self) -> bool:
        return self.scope == "full"

    @classmethod
    def main(cls, source: str, *, by_header: bool) -> Caller:
        """Return a caller with the token in data_dir, which may do everything."""
        return cls(RESERVED, "full", source, by_header)
