"""What every request of a session has: user agent, headers and the origins that get them, authentication, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.session.login.http_auth import HttpAuth
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.settings import BannedTable


@dataclass(frozen=True)
class RequestRules:
    """headers: the spider's own. trusted: the origins that get them, and bodies. hosts: those that the settings name.

    auth: HTTP authentication, None for none. banned: how an answer shows that the proxy is banned. encoding: overrides
    what pages say of themselves.
    """

    user_agent: str
    headers: Mapping[str, str]
    trusted: TrustedOrigins
    auth: HttpAuth | None
    banned: BannedTable | None
    hosts: frozenset[str]
    encoding: str | None
    timeout_s: float
    max_page_bytes: int
