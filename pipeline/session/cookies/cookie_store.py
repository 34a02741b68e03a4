"""The cookies of one session, and the Cookie header of each request (RFC 6265bis, 5.7 and 5.8).

An expired cookie is not sent but stays, so that no cookie is lost if the system clock is wrong for a short time. A cookie is
removed when its site deletes or replaces it. If a limit is exceeded, the oldest cookies are removed, expired cookies first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlsplit

from pipeline.session.cookies.cookie import Cookie, CookieKey
from pipeline.session.cookies.entries import Entry, PreparedHeader
from pipeline.session.cookies.matching import Origin, canonical_host, domain_matches, is_address, path_matches
from pipeline.session.cookies.parser import parse_set_cookie
from pipeline.text import clean_line

HOST_COOKIES = 180
"""The maximum number of cookies for one domain, as in browsers."""
HOST_BYTES = 60_000
"""The maximum size of one domain's cookies. Few servers accept a longer Cookie header."""
JAR_COOKIES = 3000
JAR_BYTES = 2_000_000
_CACHED_HOSTS = 256

logger = logging.getLogger(__name__)


class CookieStore:
    """Thread-safe cookies in memory."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.version = 0
        """The number of changes to cookies so far. Callers compare two values to detect a change."""
        self._clock = clock
        self._domains: dict[str, dict[CookieKey, Entry]] = {}
        self._sizes: dict[str, int] = {}
        """The size in bytes of each domain's cookies."""
        self._secure_names: dict[str, int] = {}
        self._count = 0
        self._tick = 0
        self._prepared: dict[tuple[str, bool], PreparedHeader] = {}
        self._full: set[str] = set()
        """Domains whose cookies have exceeded the limit. A warning has been logged for each of these domains."""
        self._protected: frozenset[CookieKey] = frozenset()
        self._lock = threading.RLock()

    def protect(self, keys: Iterable[CookieKey]) -> None:
        """Set which cookies belong to the login. If the jar has too many cookies, the login's cookies are removed last."""
        self._protected = frozenset(keys)

    def store(self, url: str, lines: Iterable[bytes], *, served: bytes = b"") -> None:
        """Store the cookies set by a response from `url`.

        lines: the values of the response's Set-Cookie headers; served: the value of the response's Date header.
        """
        origin, now_s = Origin.of(url), self._clock()
        domains = set()
        with self._lock:
            for line in lines:
                cookie = parse_set_cookie(line, origin, now_s, served)
                if cookie is None or (not origin.secure and self._shadows_secure(cookie, now_s)):
                    continue
                if cookie.has_expired(now_s):
                    self._drop(cookie.domain, cookie.key)
                else:
                    self._put(cookie)
                    domains.add(cookie.domain)
            self._keep_limits(domains, now_s)

    def header(self, url: str) -> bytes:
        """Return the Cookie header for a request to `url` (RFC 6265bis, 5.8.3); b"" if no cookie must be sent."""
        if not self._count:
            return b""
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        prepared = self._prepared.get((host, secure))
        now_s = self._clock()
        if prepared is None or not prepared.since_s <= now_s < prepared.until_s:
            prepared = self._prepare(host, secure, now_s)
        self._tick = prepared.used = self._tick + 1
        return prepared.everywhere if prepared.by_path is None else prepared.header(parts.path or "/", self._tick)

    def add(self, cookies: Iterable[Cookie]) -> None:
        """Store cookies that were not set by a response."""
        with self._lock:
            domains = set()
            for cookie in cookies:
                self._put(cookie)
                domains.add(cookie.domain)
            self._keep_limits(domains, self._clock())

    def set_cookie(self, cookie: Cookie) -> None:
        """Store one cookie that was not set by a response."""
        self.add((cookie,))

    def remove(self, key: CookieKey) -> None:
        """Remove the cookie with this key, if the jar contains it."""
        with self._lock:
            self._drop(key[0].removeprefix("."), key)

    def clear(self) -> None:
        with self._lock:
            for cookie in self:
                self._drop(cookie.domain, cookie.key)

    def alive(self) -> list[Cookie]:
        """Return the cookies that have not expired."""
        now_s = self._clock()
        return [cookie for cookie in self if not cookie.has_expired(now_s)]

    def __iter__(self) -> Iterator[Cookie]:
        """Iterate over a copy of the cookies, in order of creation, so that other threads may change the jar meanwhile."""
        with self._lock:
            entries = sorted((entry for found in self._domains.values() for entry in found.values()),
                             key=lambda entry: entry.created)
        return iter([entry.cookie for entry in entries])

    def __len__(self) -> int:
        return self._count

    def _prepare(self, host: str, secure: bool, now_s: float) -> PreparedHeader:
        """Compute the Cookie header for a host. The result is valid until the jar changes or a cookie expires."""
        with self._lock:
            entries = []
            name = canonical_host(host)
            for entry in self._candidates(name):
                cookie = entry.cookie
                if (secure or not cookie.secure) and (cookie.domain == name or not cookie.host_only):
                    entries.append(entry)
            entries.sort(key=lambda entry: (-len(entry.cookie.path), entry.created))
            if len(self._prepared) >= _CACHED_HOSTS:
                self._unprepare()
            prepared = self._prepared[host, secure] = PreparedHeader(entries, now_s)
            return prepared

    def _candidates(self, host: str) -> Iterator[Entry]:
        yield from self._domains.get(host, {}).values()
        while not is_address(host) and "." in host:
            host = host.partition(".")[2]
            yield from self._domains.get(host, {}).values()

    def _shadows_secure(self, cookie: Cookie, now_s: float) -> bool:
        """Return whether a cookie received without TLS would replace a Secure cookie (RFC 6265bis, 5.7, step 16)."""
        return cookie.name in self._secure_names and any(
            entry.cookie.secure and entry.cookie.name == cookie.name and not entry.cookie.has_expired(now_s)
            and path_matches(cookie.path, entry.cookie.path)
            for domain, entries in self._domains.items()
            if domain_matches(domain, cookie.domain) or domain_matches(cookie.domain, domain)
            for entry in entries.values())

    def _put(self, cookie: Cookie) -> None:
        self._tick += 1
        entries = self._domains.setdefault(cookie.domain, {})
        entry = entries.get(cookie.key)
        if entry is not None and entry.cookie == cookie:
            entry.used = self._tick
            return
        created = self._tick if entry is None else entry.created
        if entry is not None:
            self._drop(cookie.domain, cookie.key)
            entries = self._domains.setdefault(cookie.domain, {})
        entry = entries[cookie.key] = Entry(cookie, created, self._tick)
        self._count += 1
        self._sizes[cookie.domain] = self._sizes.get(cookie.domain, 0) + entry.size_bytes
        if cookie.secure:
            self._secure_names[cookie.name] = self._secure_names.get(cookie.name, 0) + 1
        self._changed()

    def _drop(self, domain: str, key: CookieKey) -> None:
        entries = self._domains.get(domain, {})
        entry = entries.pop(key, None)
        if entry is None:
            return
        self._count -= 1
        self._sizes[domain] -= entry.size_bytes
        if not entries:
            del self._domains[domain], self._sizes[domain]
        name = entry.cookie.name
        if entry.cookie.secure:
            self._secure_names[name] -= 1
            if not self._secure_names[name]:
                del self._secure_names[name]
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        if self._prepared:
            self._unprepare()

    def _unprepare(self) -> None:
        for prepared in self._prepared.values():
            prepared.note_use()
        self._prepared = {}

    def _keep_limits(self, domains: Iterable[str], now_s: float) -> None:
        for domain in domains:
            entries = self._domains.get(domain, {})
            if len(entries) > HOST_COOKIES or self._sizes.get(domain, 0) > HOST_BYTES:
                if domain not in self._full:
                    self._full.add(domain)
                    logger.warning("%s has set more than %d cookies or %d bytes of cookies: the oldest cookies are removed",
                                   clean_line(domain, 200), HOST_COOKIES, HOST_BYTES)
                self._trim(entries.values(), now_s, HOST_COOKIES, HOST_BYTES)
        if self._count > JAR_COOKIES or sum(self._sizes.values()) > JAR_BYTES:
            everyone = [entry for entries in self._domains.values() for entry in entries.values()]
            self._trim(everyone, now_s, JAR_COOKIES, JAR_BYTES)

    def _trim(self, entries: Iterable[Entry], now_s: float, count: int, size_bytes: int) -> None:
        """Remove cookies until at most `count` cookies and `size_bytes` bytes are left.

        Expired cookies are removed first, then cookies that were not sent or set for the longest time, and last the cookies of
        the login.
        """
        self._unprepare()
        oldest = sorted(entries, key=lambda entry: (entry.cookie.key in self._protected,
                                                    not entry.cookie.has_expired(now_s), entry.used, entry.created))
        number, size = len(oldest), sum(entry.size_bytes for entry in oldest)
        for entry in oldest:
            if number <= count and size <= size_bytes:
                return
            self._drop(entry.cookie.domain, entry.cookie.key)
            number, size = number - 1, size - entry.size_bytes
