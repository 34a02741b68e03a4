"""The http.cookiejar objects that requests needs, with the session's cookies."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any

from pipeline.session.cookies.cookie import with_own
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.matching import Origin


class NoCookies(CookieJar):
    """An empty jar. The adapter stores the cookies of a response before a redirect is followed."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Do nothing."""


class RequestCookies(NoCookies):
    """Sets the Cookie header of one request and its redirects from the session's jar.

    own: the cookies of the request, sent only to the host and scheme of `url`; they replace the jar's cookies of that name.
    """

    def __init__(self, jar: Jar, own: Mapping[str, str], url: str) -> None:
        super().__init__()
        self._jar = jar
        self._own = own
        self._origin = Origin.of(url)

    def add_cookie_header(self, request: Any) -> None:
        """Add the header. requests calls this for each redirect with an object like urllib.request.Request."""
        url = request.get_full_url()
        header = self._jar.header(url)
        if self._own:
            origin = Origin.of(url)
            if origin.host == self._origin.host and (origin.secure or not self._origin.secure):
                header = with_own(header, self._own)
        if header:  # requests encodes the text of headers in Latin-1
            request.add_unredirected_header("Cookie", header.decode("latin-1"))

    def copy(self) -> RequestCookies:
        return self
