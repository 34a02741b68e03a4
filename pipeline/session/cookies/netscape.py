"""Reads and writes the Netscape cookie file format, which curl, wget and browser extensions use."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.errors import CookieError
from pipeline.session.cookies.cookie import Cookie, make_cookie, octets_of, text_of
from pipeline.session.cookies.parser import CONTROL, LATEST_S
from pipeline.text import counted

HEADER = "# Netscape HTTP Cookie File"
_HTTP_ONLY = "#HttpOnly_"
_SAME_SITE = "# SameSite="
"""The beginning of a comment line that stores the SameSite attribute of the cookie in the following line.

Other programs ignore comments.
"""
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_file(path: Path, max_bytes: int) -> tuple[str, bool]:
    """Return the text of a cookie file, and whether the file is longer than max_bytes. Read at most max_bytes bytes.

    Raises FileNotFoundError, or CookieError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CookieError(f"the file cannot be read: {error.strerror}", where=str(path),
                          fix="check the file's owner and mode") from error
    return decode(data, max_bytes)


def decode(data: bytes, max_bytes: int) -> tuple[str, bool]:
    """Return the text of the first max_bytes bytes of a cookie file, and whether the file is longer."""
    whole = data[:max_bytes]
    if whole.startswith(_UTF16):  # Windows shells write UTF-16 when output is redirected to a file
        return whole.decode("utf-16", "replace"), len(data) > max_bytes
    return text_of(whole.removeprefix(codecs.BOM_UTF8)), len(data) > max_bytes


def read_netscape(text: str, where: str, *, on_error: Callable[[CookieError], None] | None = None) -> Iterator[Cookie]:
    """Yield the cookies in the text of a Netscape file. An expiry time of 0 means a session cookie.

    on_error: called with an error for each invalid line, which is then skipped; None means that the first invalid line raises
    CookieError. Errors contain the number of the line, but never its content.
    """
    site = ""
    for number, raw in enumerate(text.split("\n"), 1):
        if raw.startswith(_SAME_SITE):
            site = raw.removeprefix(_SAME_SITE).strip()
        http_only = raw.startswith(_HTTP_ONLY)
        line = raw.removesuffix("\r").removeprefix(_HTTP_ONLY)
        if not line.strip() or (line.lstrip().startswith(("#", "$")) and not http_only):
            continue
        try:
            yield _cookie(line, f"{where}:{number}", http_only=http_only, same_site=site)
        except CookieError as error:
            if on_error is None:
                raise
            on_error(error)
        site = ""


def write_netscape(cookies: Iterable[Cookie]) -> bytes:
    """Return the content of a Netscape file with these cookies, in the given order."""
    lines = [HEADER, "# Cookies are passwords: keep this file to yourself.", ""]
    for cookie in cookies:
        if cookie.same_site:
            lines.append(f"{_SAME_SITE}{cookie.same_site}")
        lines.append("\t".join((
            (_HTTP_ONLY if cookie.http_only else "") + cookie.shown_domain, _flag(not cookie.host_only), cookie.path,
            _flag(cookie.secure), str(cookie.expires_s or 0), cookie.name, cookie.value)))
    return octets_of("\n".join([*lines, ""]))


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _cookie(line: str, where: str, *, http_only: bool, same_site: str) -> Cookie:
    fields = line.split("\t", 6)
    if len(fields) == 6:  # a text editor has removed the tab before an empty value
        fields.append("")
    if len(fields) != 7:
        raise _error(f"the line has {counted(len(fields), 'tab-separated field')} instead of seven", where, "export the file again, and keep its tabs")
    domain, subdomains, path, secure, expiry, name, value = fields
    for label, flag in (("second", subdomains), ("fourth", secure)):
        if flag.upper() not in ("TRUE", "FALSE"):
            raise _error(f"the {label} field is neither TRUE nor FALSE", where)
    try:
        expires_s = int(min(float(expiry or 0), LATEST_S))
    except (ValueError, OverflowError) as error:
        raise _error("the fifth field is not an expiry time (seconds since 1970, 0 for a session cookie)", where) from error
    if not domain.strip(".") or CONTROL.search(domain + path + name + value) or not (name or value):
        raise _error("the line has no domain, no name, or a control character", where)
    dot = "." if subdomains.upper() == "TRUE" else ""
    try:
        return make_cookie(domain=domain if domain.startswith(".") else dot + domain, name=name, value=value, path=path,
                           secure=secure.upper() == "TRUE", expires_s=expires_s if expires_s > 0 else None,
                           http_only=http_only, same_site=same_site if same_site in ("Strict", "Lax", "None") else "")
    except ValueError as error:
        raise _error("the domain is not a valid host name", where) from error


def _error(what: str, where: str, fix: str = "export the file again") -> CookieError:
    return CookieError(what, where=where, fix=f"{fix}; or delete the line")
