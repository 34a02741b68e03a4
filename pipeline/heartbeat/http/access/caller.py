"""The person or script that sends a request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline.store.access.api_tokens import RESERVED, Scope


@dataclass(frozen=True)
class Caller:
    """Who sends a request. name: the name of the token. source: the client's IP address, or "Unix socket".

    by_header: whether the token is in the header Authorization, which no web site can make a browser send. session: the identifier of the
    browser's session; "" if there is none. csrf_token: the CSRF token of this session.
    """

    name: str
    scope: Scope
    source: str
    by_header: bool = True
    session: str = ""
    csrf_token: str = field(default="", repr=False)

    @property
    def may_act(self) -> bool:
        return self.scope == "full"

    @classmethod
    def main(cls, source: str) -> Caller:
        """Return a caller with the token in data_dir, which may do everything."""
        return cls(RESERVED, "full", source)

    def in_session(self, session: str, csrf_token: str) -> Caller:
        """Return this caller as one whose browser has signed in."""
        return replace(self, by_header=False, session=session, csrf_token=csrf_token)
