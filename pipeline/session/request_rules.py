"""The rules for all requests of a session: user agent, headers, origins, authentication and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.session.login.http_auth import HttpAuth
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.settings import BannedTable


@dataclass(frozen=True)
class RequestRules:
    """The settings that apply to every request of a spider.

    headers: the request headers set for the spider; trusted: the origins that receive these headers; body_origins: the origins
    that may receive a request body after a redirect; auth: the HTTP authentication, or None; banned: the rules for
    recognizing a response to a banned proxy; hosts: the hosts named in the spider's settings; encoding: the encoding to
    use instead of the encoding that a page declares, or None.
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
