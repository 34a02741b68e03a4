"""The two cookie jars that requests is given: it only accepts http.cookiejar's, and parses cookies as that does."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any

from pipeline.session.cookies.cookie import with_own
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.matching import Origin


class NoCookies(CookieJar):
    """Stays empty: what answers set is stored by the adapter, once, before a redirect is followed."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Nothing."""


class RequestCookies(NoCookies):
    """The Cookie header of one request and its redirects, from the session's jar.

    own: the request's own cookies, for the host and the scheme of `url` only; they replace the jar's of the same name.
    """

    def __init__(self, jar: Jar, own: Mapping[str, str], url: str) -> None:
        super().__init__()
        self._jar = jar
        self._own = own
        self._origin = Origin.of(url)

    def add_cookie_header(self, request: Any) -> None:
        """request: as urllib.request has them; requests asks at each hop of a redirect."""
        url = request.get_full_url()
        header = self._jar.header(url)
        if self._own:
            origin = Origin.of(url)
            if origin.host == self._origin.host and (origin.secure or not self._origin.secure):
                header = with_own(header, self._own)
        if header:  # requests' headers are text, which goes out as Latin-1
            request.add_unredirected_header("Cookie", header.decode("latin-1"))

    def copy(self) -> RequestCookies:
        return self
