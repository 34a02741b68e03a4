"""Adapters between the cookie jar of a session and the cookie jar interface of the library requests."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any

from pipeline.session.cookies.cookie import with_own
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.matching import Origin


class NoCookies(CookieJar):
    """A cookie jar that stays empty. SessionAdapter stores the cookies of each response in the session's jar instead."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Do nothing: SessionAdapter has already stored the cookies of the response."""


class RequestCookies(NoCookies):
    """Sets the Cookie header of one request and its redirects from the cookie jar of the session.

    own: further cookies for this request only. These cookies are sent only to the host and scheme of `url`, and replace cookies
    of the same name from the jar.
    """

    def __init__(self, jar: Jar, own: Mapping[str, str], url: str) -> None:
        super().__init__()
        self._jar = jar
        self._own = own
        self._origin = Origin.of(url)

    def add_cookie_header(self, request: Any) -> None:
        """Add the Cookie header to a request.

        The library requests calls this method for each redirect, with an object like urllib.request.Request.
        """
        url = request.get_full_url()
        header = self._jar.header(url)
        if self._own:
            origin = Origin.of(url)
            if origin.host == self._origin.host and (origin.secure or not self._origin.secure):
                header = with_own(header, self._own)
        if header:  # the library requests encodes header values in Latin-1
            request.add_unredirected_header("Cookie", header.decode("latin-1"))

    def copy(self) -> RequestCookies:
        return self
