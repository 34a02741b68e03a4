"""The entries of a cookie jar, and the Cookie headers that are prepared from them."""

from __future__ import annotations

from pipeline.session.cookies.cookie import Cookie
from pipeline.session.cookies.matching import path_matches


class Entry:
    """A cookie in the jar.

    created, used: the values of the jar's counter when the cookie was created and when it was last used. The counter does not
    depend on the system clock.
    """

    __slots__ = ("cookie", "created", "octets", "used")

    def __init__(self, cookie: Cookie, created: int, used: int) -> None:
        self.cookie = cookie
        self.created = created
        self.used = used
        self.octets = cookie.octets()

    @property
    def size_bytes(self) -> int:
        """The size of the cookie in a Cookie header, in bytes."""
        return len(self.octets) + 2


class PreparedHeader:
    """The cookies that are sent to one host.

    everywhere: the Cookie header for every path, if all cookies have the path "/", otherwise None; by_path: the cookies, if the
    header depends on the path of the request, otherwise None.
    """

    __slots__ = ("by_path", "entries", "everywhere", "since_s", "until_s", "used")

    def __init__(self, entries: list[Entry], now_s: float) -> None:
        self.entries = [entry for entry in entries if not entry.cookie.has_expired(now_s)]
        ends = [entry.cookie.expires_s for entry in self.entries if entry.cookie.expires_s is not None]
        self.since_s, self.until_s = now_s, float(min(ends, default=float("inf")))
        self.used = 0
        special = any(entry.cookie.path != "/" for entry in self.entries)
        self.by_path = self.entries if special else None
        self.everywhere = b"" if special else b"; ".join([entry.octets for entry in self.entries])

    def header(self, path: str, tick: int) -> bytes:
        pairs = []
        for entry in self.entries:
            if path_matches(path, entry.cookie.path):
                entry.used = tick
                pairs.append(entry.octets)
        return b"; ".join(pairs)

    def note_use(self) -> None:
        if self.by_path is None:
            for entry in self.entries:
                entry.used = max(entry.used, self.used)
