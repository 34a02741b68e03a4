"""The cookie jar of one spider: one Netscape file that requests, Scrapy, curl and browsers' exports share.

In memory a cookie whose domain starts with a dot goes to subdomains, too; every other is host-only, as RFC 6265
(sections 5.3 and 5.4) has it. Hosts without a dot carry `.local` in memory, http.cookiejar's way, but not in the file.
"""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import CookieError
from pipeline.session.private_file import write_private
from pipeline.session.shown import clean

HEADER = "# Netscape HTTP Cookie File"
MAX_FILE_BYTES = 16 * 2**20
_HTTP_ONLY = "#HttpOnly_"
_SAME_SITE = "# SameSite="
"""The format has no column for it: a comment ahead of the cookie's line, which every other reader skips."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LATEST_S = 253402300799  # the end of year 9999, which datetime can still hold


class BrowserPolicy(DefaultCookiePolicy):
    """RFC 6265 where http.cookiejar is looser: host-only stays on its host, control characters are refused."""

    def __init__(self) -> None:
        super().__init__(strict_domain=True)

    def set_ok(self, cookie: Cookie, request: urllib.request.Request) -> bool:
        if any(_CONTROL.search(text or "") for text in (cookie.name, cookie.value, cookie.path)):
            return False
        return super().set_ok(cookie, request)

    def set_ok_domain(self, cookie: Cookie, request: urllib.request.Request) -> bool:
        # A site may always name itself; http.cookiejar refuses that for hosts without a dot.
        if cookie.domain.removeprefix(".") == _host(request):
            return True
        return super().set_ok_domain(cookie, request)

    def return_ok_domain(self, cookie: Cookie, request: urllib.request.Request) -> bool:
        host = _host(request)
        if cookie.domain.startswith("."):
            return host == cookie.domain[1:] or (host.endswith(cookie.domain) and not _is_address(host))
        return cookie.domain in ("", host, f"{host}.local")


class Jar(CookieJar):
    """A thread-safe jar kept in `path`; without a path it lives in memory only. Save it after changes."""

    def __init__(self, path: Path | None = None) -> None:
        self._policy = BrowserPolicy()
        super().__init__(self._policy)
        self.path = path
        self._saved = ""
        self._saving = threading.Lock()
        self._cookies_lock: Any  # http.cookiejar's own lock, reentrant

    @property
    def policy(self) -> BrowserPolicy:
        """What cookies are taken and sent; Scrapy's jar asks it, too."""
        return self._policy

    @classmethod
    def open(cls, path: Path) -> Jar:
        """The jar kept in `path`; empty when there is none. Raises CookieError with file, line and fix."""
        jar = cls(path)
        try:
            text = read_text(path)
        except FileNotFoundError:
            return jar
        for cookie in read_netscape(text, str(path)):
            jar.set_cookie(cookie)
        jar._saved = text
        return jar

    def save(self) -> bool:
        """Write the file (atomically, 0600, synced) if its content would change. True when it was written."""
        if self.path is None:
            return False
        with self._saving:
            text = write_netscape(self)
            if text == self._saved or (not self._saved and text == write_netscape(())):
                return False
            write_private(self.path, text.encode())
            self._saved = text
            return True

    def copy(self) -> Jar:
        """The same cookies in memory only: what one request and its redirects carry."""
        twin = Jar()
        for cookie in self:
            twin.set_cookie(copy(cookie))
        return twin

    def __iter__(self) -> Iterator[Cookie]:
        """A snapshot: other threads may go on changing the jar."""
        with self._cookies_lock:
            return iter(list(super().__iter__()))

    def __repr__(self) -> str:
        return f"<Jar {self.path or 'in memory'}: {len(self)} cookies>"

    __str__ = __repr__  # the inherited ones print values

    def _cookies_for_domain(self, domain: str, request: Any) -> list[Cookie]:
        # Scrapy's jar calls this without the lock; downloads change the jar from their threads.
        with self._cookies_lock:
            found: list[Cookie] = super()._cookies_for_domain(domain, request)  # type: ignore[misc]
            return found


@dataclass(frozen=True)
class CookieLine:
    """A cookie as `pipeline cookies show` prints it. expires: None for a session cookie."""

    domain: str
    path: str
    name: str
    value: str
    expires: datetime | None
    expired: bool
    flags: tuple[str, ...]


def describe(jar: Jar, now: datetime) -> list[CookieLine]:
    """Every cookie of the jar with its value masked, by domain, path and name."""
    lines = []
    for cookie in sorted(jar, key=_order):
        flags = [name for name, there in (("secure", cookie.secure), ("httponly", is_http_only(cookie)),
                                          ("host-only", not cookie.domain.startswith(".")),
                                          ("session", cookie.expires is None)) if there]
        flags += [f"samesite={value.lower()}"] if (value := same_site(cookie)) else []
        expires = None if cookie.expires is None else datetime.fromtimestamp(min(cookie.expires, LATEST_S), UTC)
        size = len(cookie.value or "")
        lines.append(CookieLine(
            domain=clean(_file_domain(cookie)), path=clean(cookie.path), name=clean(cookie.name, 80),
            value=f"••• ({size} character{'' if size == 1 else 's'})",
            expires=expires, expired=expires is not None and expires <= now, flags=tuple(flags)))
    return lines


def make_cookie(*, domain: str, name: str, value: str | None, path: str = "/", secure: bool = False,
                expires: int | None = None, http_only: bool = False, same_site: str = "") -> Cookie:
    """A version 0 cookie. domain: with a leading dot for subdomains too, without for that host alone.

    same_site: Strict, Lax or None as its source says, "" where it does not.
    """
    if domain and "." not in domain.removeprefix(".") and not domain.startswith("."):
        domain += ".local"
    dotted = domain.startswith(".")
    return Cookie(version=0, name=name, value=value, port=None, port_specified=False, domain=domain.lower(),
                  domain_specified=dotted, domain_initial_dot=dotted, path=path or "/", path_specified=True,
                  secure=secure, expires=expires, discard=expires is None, comment=None, comment_url=None,
                  rest=({"HttpOnly": ""} if http_only else {}) | ({"SameSite": same_site} if same_site else {}))


def host_cookies(url: str, pairs: dict[str, str]) -> list[Cookie]:
    """Session cookies for the host of `url` alone; over TLS only when `url` is."""
    parts = urlsplit(url)
    return [make_cookie(domain=parts.hostname or "", name=name, value=value, secure=parts.scheme == "https")
            for name, value in pairs.items()]


def is_http_only(cookie: Cookie) -> bool:
    return any(cookie.has_nonstandard_attr(name) for name in ("HttpOnly", "httponly", "HTTPOnly", "HttpONLY"))


def same_site(cookie: Cookie) -> str:
    """Strict, Lax or None; "" where nobody said, or what nobody knows."""
    found = next((value for name in ("SameSite", "samesite", "Samesite", "SAMESITE")
                  if (value := cookie.get_nonstandard_attr(name))), "") or ""
    return found.capitalize() if found.lower() in ("strict", "lax", "none") else ""


def read_text(path: Path) -> str:
    """A cookie file's text: UTF-8, else Latin-1. Raises FileNotFoundError, or CookieError for anything else."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CookieError(f"cannot be read: {error.strerror}", where=str(path),
                          fix="check the file's owner and mode") from error
    if len(data) > MAX_FILE_BYTES:
        raise CookieError(f"is larger than {MAX_FILE_BYTES >> 20} MiB", where=str(path), fix="is it a cookie file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_netscape(text: str, where: str) -> Iterator[Cookie]:
    """The cookies of a Netscape file as browsers' extensions, curl and wget write it; expiry 0 is a session cookie.

    Raises CookieError naming the line, never its content.
    """
    site = ""
    for number, raw in enumerate(text.split("\n"), 1):
        if raw.startswith(_SAME_SITE):
            site = raw.removeprefix(_SAME_SITE).strip()
        http_only = raw.startswith(_HTTP_ONLY)
        line = raw.removesuffix("\r").removeprefix(_HTTP_ONLY)
        if not line.strip() or (line.lstrip().startswith(("#", "$")) and not http_only):
            continue
        fields = line.split("\t", 6)
        if len(fields) == 6:  # an editor cut the tab before an empty value
            fields.append("")
        if len(fields) != 7:
            raise CookieError(f"{len(fields)} field(s) between tabs instead of seven", where=f"{where}:{number}",
                              fix="export the file again, and keep its tabs; or delete that line")
        yield _netscape_cookie(fields, f"{where}:{number}", http_only=http_only, same_site=site)
        site = ""


def _netscape_cookie(fields: list[str], where: str, *, http_only: bool, same_site: str) -> Cookie:
    domain, subdomains, path, secure, expiry, name, value = fields
    for label, flag in (("second", subdomains), ("fourth", secure)):
        if flag.upper() not in ("TRUE", "FALSE"):
            raise CookieError(f"the {label} field is neither TRUE nor FALSE", where=where,
                              fix="export the file again, or delete that line")
    try:
        expires = int(float(expiry or 0))
    except (ValueError, OverflowError) as error:
        raise CookieError("the fifth field is no expiry time (seconds since 1970, 0 for a session cookie)",
                          where=where, fix="export the file again, or delete that line") from error
    if not domain.strip(".") or _CONTROL.search(domain + path + name + value) or not (name or value):
        raise CookieError("no domain, no name, or a control character in it", where=where,
                          fix="export the file again, or delete that line")
    if subdomains.upper() == "TRUE" and not domain.startswith("."):
        domain = f".{domain}"
    return make_cookie(domain=domain, name=name or value, value=value if name else None, path=path,
                       secure=secure.upper() == "TRUE", expires=expires if expires > 0 else None, http_only=http_only,
                       same_site=same_site)


def write_netscape(cookies: Jar | tuple[Cookie, ...]) -> str:
    """The file's text: cookies that have not expired, in a stable order."""
    lines = [HEADER, "# Cookies are passwords: keep this file to yourself.", ""]
    for cookie in sorted(cookies, key=_order):
        if cookie.is_expired():
            continue
        domain = _file_domain(cookie)
        name, value = (cookie.name, cookie.value) if cookie.value is not None else ("", cookie.name)
        if site := same_site(cookie):
            lines.append(f"{_SAME_SITE}{site}")
        lines.append("\t".join((
            (_HTTP_ONLY if is_http_only(cookie) else "") + domain, _flag(domain.startswith(".")), cookie.path,
            _flag(cookie.secure), str(int(cookie.expires or 0)), name, value)))
    return "\n".join([*lines, ""])


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _order(cookie: Cookie) -> tuple[str, str, str]:
    return cookie.domain, cookie.path, cookie.name


def _file_domain(cookie: Cookie) -> str:
    """The domain without http.cookiejar's `.local` on hosts that have no dot."""
    host = cookie.domain.removesuffix(".local")
    return host if host and "." not in host else cookie.domain


def _host(request: urllib.request.Request) -> str:
    return (urlsplit(request.get_full_url()).hostname or "").lower()


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
