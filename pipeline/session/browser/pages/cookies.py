"""Copies changed cookies between the session's jar and a browser context, in both directions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.session.cookies.cookie import Cookie, CookieKey
from pipeline.session.cookies.cookie_store import CookieStore
from pipeline.text import clean_line

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

_LONGEST_S = 400 * 86_400
"""Browsers keep no cookie for longer (RFC 6265bis, 5.5)."""
_DELETED_S = 1
"""An expiry time long ago, which deletes a cookie in a browser."""

logger = logging.getLogger(__name__)


def to_browser(cookie: Cookie) -> dict[str, Any] | None:
    """Return a cookie in the form of Playwright; None if its bytes are no UTF-8, which a browser's interface cannot take."""
    try:
        f"{cookie.name}{cookie.value}{cookie.path}".encode()
    except UnicodeEncodeError:
        return None
    found: dict[str, Any] = {
        "name": cookie.name, "value": cookie.value, "domain": cookie.shown_domain, "path": cookie.path, "secure": cookie.secure,
        "httpOnly": cookie.http_only, "expires": -1 if cookie.expires_s is None else max(cookie.expires_s, _DELETED_S)}
    if cookie.same_site in ("Strict", "Lax", "None"):
        found["sameSite"] = cookie.same_site
    return found


def from_browser(found: Mapping[str, Any]) -> Cookie | None:
    """Return a cookie of a browser context. None for a cookie that only counts inside pages of another site (CHIPS)."""
    domain = str(found["domain"])
    partition = str(found.get("partitionKey") or "")
    host = domain.removeprefix(".").lower()
    if partition and not _same_site(partition, host):
        return None
    expires = float(found.get("expires", -1))
    same_site = str(found.get("sameSite") or "")
    return Cookie(name=str(found["name"]), value=str(found["value"]), domain=host, path=str(found["path"]), host_only=not domain.startswith("."),
                  secure=bool(found["secure"]), http_only=bool(found["httpOnly"]), same_site=same_site, expires_s=None if expires < 0 else int(expires))


def _same_site(partition: str, host: str) -> bool:
    """Return whether a host belongs to the site of a partition key, such as "https://shop.example"."""
    site = partition.partition("://")[2].partition(":")[0].lower()
    return host == site or host.endswith(f".{site}")


class ContextCookies:
    """Keeps the cookies of one browser context and of the jar the same. Several pages of the context may use it at once.

    jar: the cookies of the session, which other threads may change at any time.
    """

    def __init__(self, jar: CookieStore, context: BrowserContext) -> None:
        self._jar = jar
        self._context = context
        self._jar_version = -1
        self._agreed: dict[CookieKey, Cookie] = {}
        """The cookies that jar and context have in common, as they are in the jar."""
        self._read: dict[CookieKey, Cookie] = {}
        """The cookies of the context when it was last read."""
        self._refused: set[CookieKey] = set()
        self._lock = asyncio.Lock()

    async def give(self) -> None:
        """Copy the changes of the jar to the context. Does nothing if the jar has not changed."""
        if self._jar.version == self._jar_version:
            return
        async with self._lock:
            version = self._jar.version
            wanted = {cookie.key: cookie for cookie in self._jar.alive()}
            changed = [cookie for key, cookie in wanted.items() if self._agreed.get(key) != cookie]
            gone = [cookie for key, cookie in self._agreed.items() if key not in wanted]
            if changed or gone:
                await self._set([*changed, *(replace(cookie, expires_s=_DELETED_S) for cookie in gone)])
                self._agreed = wanted
                await self._take()  # what a page has changed meanwhile, and in which form the browser keeps the cookies
                self._tell_refused()
            self._jar_version = version

    async def take(self) -> None:
        """Copy the changes that pages have made in the context to the jar."""
        async with self._lock:
            await self._take()

    async def _take(self) -> None:
        found = {cookie.key: cookie for each in await self._context.cookies() if (cookie := from_browser(each)) is not None}
        changed: list[Cookie] = []
        for key, cookie in found.items():
            known = self._agreed.get(key)
            if self._read.get(key) != cookie and (known is None or not _is_kept_as(known, cookie)):
                changed.append(cookie)
        now_s = time.time()
        for key in self._read.keys() - found.keys():
            known = self._agreed.pop(key, None)
            if known is not None and not known.has_expired(now_s):  # deleted by the site; the jar keeps what has merely expired
                self._jar.remove(key)
        self._read = found
        self._agreed.update((cookie.key, cookie) for cookie in changed)
        if changed:
            self._jar.add(changed)

    async def _set(self, cookies: Iterable[Cookie]) -> None:
        from playwright.async_api import Error  # noqa: PLC0415  loaded by now, since there is a context
        params: list[Any] = [param for cookie in cookies if (param := to_browser(cookie)) is not None]
        try:
            await self._context.add_cookies(params)
        except Error:
            if len(params) <= 1:
                return
            for param in params:  # the browser refuses all of them if it refuses one
                try:
                    await self._context.add_cookies([param])
                except Error as error:
                    logger.debug("the browser refused a cookie: %s", error.message)

    def _tell_refused(self) -> None:
        for key in self._agreed.keys() - self._read.keys() - self._refused:
            self._refused.add(key)
            logger.warning("the browser does not accept the cookie %s of %s, which is in the jar: pages in the browser are requested without it",
                           clean_line(key[2], 60) or "without a name", clean_line(key[0], 100))


def _is_kept_as(cookie: Cookie, kept: Cookie) -> bool:
    """Return whether `kept` is what a browser makes of a cookie: "Lax" if it has no SameSite, and at most 400 days."""
    if cookie.expires_s is None or kept.expires_s is None:
        same_end = cookie.expires_s is kept.expires_s
    else:
        same_end = abs(cookie.expires_s - kept.expires_s) <= 1 or kept.expires_s < cookie.expires_s
    return same_end and replace(cookie, expires_s=None, same_site="") == replace(kept, expires_s=None, same_site="")
