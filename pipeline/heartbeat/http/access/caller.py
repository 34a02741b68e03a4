"""The person or script that sends a request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline.store.access.api_tokens import RESERVED, Scope

_LONGEST_USER = 64


@dataclass(frozen=True)
class Caller:
    """Who sends a request. name: the name of the token. source: the client's IP address, or "Unix socket".

    user: the Unix user of a command that acts through the API; "" for all others.
    by_header: whether the token is in the header Authorization, which no web site can make a browser send. session: the identifier of the
    browser's session; "" if there is none. csrf_token: the CSRF token of this session.
    """

    name: str
    scope: Scope
    source: str
    by_header: bool = True
    session: str = ""
    csrf_token: str = field(default="", repr=False)
    user: str = ""

    @property
    def who(self) -> str:
        """The name in the audit log, which for a command is the same as without a service."""
        return self.user or self.name

    @property
    def origin(self) -> str:
        """Where the request comes from, for the audit log."""
        return f"command line, {self.source}" if self.user else self.source

    @property
    def may_act(self) -> bool:
        return self.scope == "full"

    @classmethod
    def main(cls, source: str) -> Caller:
        """Return a caller with the token in data_dir, which may do everything."""
        return cls(RESERVED, "full", source)

    def as_user(self, user: str) -> Caller:
        """Return this caller as a command of a Unix user. Only of the token in data_dir is it believed, whose owner can write the audit log anyway."""
        return replace(self, user=user[:_LONGEST_USER]) if self.name == RESERVED and user.isprintable() else self

    def in_session(self, session: str, csrf_token: str) -> Caller:
        """Return this caller as one whose browser has signed in."""
        return replace(self, by_header=False, session=session, csrf_token=csrf_token)
