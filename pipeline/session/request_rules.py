"""The rules for all requests of a session: user agent, headers, origins, authentication, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.session.login.http_auth import HttpAuth
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.settings import BannedTable


@dataclass(frozen=True)
class RequestRules:
    """What the settings of a spider say about all its requests.

    headers: the spider's own; trusted: the origins that get them; body_origins: those to which a redirect may send a body.
    auth: HTTP authentication, None for none; banned: how a response shows that the proxy is banned; hosts: those that the
    settings name; encoding: overrides the encoding that pages declare.
    """

    user_agent: str
    headers: Mapping[str, str]
    trusted: TrustedOrigins
    body_origins: TrustedOrigins
    auth: HttpAuth | None
    banned: BannedTable | None
    hosts: frozenset[str]
    encoding: str | None
    timeout_s: float
    max_page_bytes: int
