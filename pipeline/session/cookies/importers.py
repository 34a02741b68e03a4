"""Imports cookies from a browser's export, a Cookie header, or Playwright's storage state."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import CookieError
from pipeline.session.cookies.cookie import MAX_PAIR_BYTES, Cookie, is_too_large, make_cookie
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.last_login import remember
from pipeline.session.cookies.matching import domain_matches
from pipeline.session.cookies.netscape import HEADER, read_file, read_netscape
from pipeline.session.cookies.parser import LATEST_S
from pipeline.settings import CookiesTable
from pipeline.store.session_files import SessionFile
from pipeline.text import clean_line

_KNOWN = "a Netscape cookies.txt, a `Cookie:` header, or JSON of a browser extension or Playwright"
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
"""Matches control characters, and surrogates that do not represent a byte (PEP 383)."""
_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None", "no_restriction": "None"}
MAX_FILE_BYTES = 16 * 2**20
_MILLISECONDS = 10**11  # larger expiry times are taken as milliseconds (as seconds, they would be after the year 5138)


def import_cookies(jar: Jar, cookies: CookiesTable, *, folder: Path, default_url: str, mark: SessionFile, last_login: SessionFile,
                   now_s: float) -> None:
    """Import the cookies named in the settings into the jar, and save the jar.

    Cookies that were already imported are imported again only if the jar no longer has them. folder: the folder to which a
    relative `cookies.file` refers; mark: the private file with a hash of the last import; last_login: the file that records
    the last login. Raises CookieError if the cookies cannot be imported, or UsageError if they are a secret that is not
    available.
    """
    url = cookies.url or default_url
    if cookies.file is not None:
        path = folder / Path(cookies.file).expanduser()
        where = str(path)
        try:
            text = read_import(path)
        except FileNotFoundError as error:
            raise CookieError("the file does not exist", where=where, fix=f"export {_KNOWN}, or remove cookies.file") from error
    else:
        assert cookies.header is not None
        where = f"cookies.header ({cookies.header.kind} {cookies.header.place})"
        text = cookies.header.reveal()
    digest = hashlib.sha256(f"{url}\n{text}".encode("utf-8", "backslashreplace")).hexdigest()
    if (mark.read() or b"").strip() == digest.encode() and jar.is_stored:
        _restore_lost(jar, read_cookies(text, where, url=url), last_login=last_login, now_s=now_s)
        return
    bring_in(jar, text, where, url=url, last_login=last_login, now_s=now_s)
    mark.replace(f"{digest}\n".encode())


def _restore_lost(jar: Jar, found: list[Cookie], *, last_login: SessionFile, now_s: float) -> None:
    """Import again those of the cookies `found` that are missing from the jar.

    Cookies can be missing because of a wrong clock or an edited file. Cookies that the site has deleted are also imported again,
    once per run: the login may need these cookies, and if the site has ended the login, they do no harm. A cookie is not imported
    if the site has set a cookie of the same name for the same domain, a parent domain or a subdomain.
    """
    there = {(cookie.name, cookie.domain) for cookie in jar.alive()}
    alive = [cookie for cookie in found if not cookie.has_expired(now_s)]
    gone = [cookie for cookie in alive if not any(
        name == cookie.name and (domain_matches(domain, cookie.domain) or domain_matches(cookie.domain, domain))
        for name, domain in there)]
    if not gone:
        return
    jar.add(gone)
    jar.save()
    if len(gone) == len(alive):
        remember(last_login, alive, brought_in=True, now_s=now_s)


def bring_in(jar: Jar, text: str, where: str, *, url: str, last_login: SessionFile, now_s: float) -> int:
    """Import the cookies in `text`, and save the jar. Return the number of imported cookies.

    where: the name of the source, for error messages; url: the site to which cookies without a domain belong. Raises CookieError
    if the cookies cannot be read or all of them have expired.
    """
    found = read_cookies(text, where, url=url)
    alive = [cookie for cookie in found if not cookie.has_expired(now_s)]
    if not alive:
        what = ("the cookie has expired" if len(found) == 1 else f"all {len(found)} cookies have expired") if found else "no cookies found"
        raise CookieError(what, where=where, fix="log in with a browser and export the cookies again")
    jar.protect(cookie.key for cookie in alive)
    jar.add(alive)
    jar.save()
    remember(last_login, alive, brought_in=True, now_s=now_s)
    return len(alive)


def read_import(path: Path) -> str:
    """Return the text of a file to import.

    Raises FileNotFoundError, or CookieError if the file is unreadable or too large.
    """
    text, cut = read_file(path, MAX_FILE_BYTES)
    if cut:
        raise CookieError(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB", where=str(path), fix="check that this is a cookie file")
    return text


def read_cookies(text: str, where: str, *, url: str) -> list[Cookie]:
    """Return the cookies in the text of a Netscape file, a Cookie header, or JSON.

    where: the name of the source, for error messages; url: the site to which cookies without a domain belong. Raises CookieError,
    whose message never contains the value of a cookie.
    """
    text = text.removeprefix("\ufeff")
    stripped = text.strip(" \t\r\n")
    if not stripped:
        raise CookieError("the cookie file or header is empty", where=where, fix=f"use {_KNOWN}")
    if stripped[0] in "[{":
        found = list(_read_json(stripped, where, url))
    elif stripped.startswith((HEADER, "# HTTP Cookie File")) or "\t" in stripped:
        found = list(read_netscape(text, where))
    else:
        found = list(_read_header(stripped, where, url))
    for cookie in found:
        if is_too_large(cookie):
            raise CookieError(f"the cookie {clean_line(cookie.name, 80)} is larger than {MAX_PAIR_BYTES} bytes, the maximum that browsers store",
                              where=where, fix="export the cookies again, or remove this cookie")
    return found


def _read_header(text: str, where: str, url: str) -> Iterator[Cookie]:
    """Yield the cookies of a Cookie header (RFC 6265, 4.2.1) as browsers send it.

    SimpleCookie of the standard library is not used, because it stops at the first cookie with an unusual name.
    """
    host, secure = _site(url, where)
    text = re.sub(r"\Acookie\s*:\s*", "", text, flags=re.IGNORECASE)
    if "=" not in text or _UNSENDABLE.search(text):
        raise CookieError(f"the format of the cookies is not supported; supported formats: {_KNOWN}", where=where,
                          fix="copy the Cookie header as the developer tools of the browser show it: name=value; name=value")
    for number, pair in enumerate(text.split(";"), 1):
        name, equals, value = (part.strip(" \t") for part in pair.partition("="))
        if not name and not equals:
            continue
        if not name:
            raise CookieError(f"cookie {number} has no name", where=where, fix="copy the Cookie header again")
        yield make_cookie(domain=host, name=name if equals else "", value=value if equals else name, secure=secure)


def _read_json(text: str, where: str, url: str) -> Iterator[Cookie]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CookieError("not valid JSON", where=f"{where}{place}", fix="export the cookies again") from error
    if isinstance(found, dict) and isinstance(found.get("cookies"), list):
        found = found["cookies"]
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        host, secure = _site(url, where)
        found = [{"name": name, "value": value, "domain": host, "secure": secure} for name, value in found.items()]
    if not isinstance(found, list):
        raise CookieError("the JSON is not a list of cookies", where=where, fix=f"use {_KNOWN}")
    for number, entry in enumerate(found, 1):
        yield _json_cookie(entry, f"{where}: cookie {number}", url)


def _json_cookie(entry: Any, where: str, url: str) -> Cookie:
    """Return a cookie from the JSON of EditThisCookie, Cookie-Editor, Playwright, Puppeteer or Selenium."""
    if not isinstance(entry, dict):
        raise CookieError("the entry is not a JSON object with name, value and domain", where=where, fix="export the cookies again")
    name, value = entry.get("name"), entry.get("value")
    if not isinstance(name, str) or not name or not isinstance(value, str) or _UNSENDABLE.search(name + value):
        raise CookieError("the cookie's name or value is missing or has control characters", where=where,
                          fix="export the cookies again")
    domain, path = entry.get("domain") or _site(url, where)[0], entry.get("path") or "/"
    if not isinstance(domain, str) or not domain.strip(".") or not isinstance(path, str) or _UNSENDABLE.search(
            domain + path):
        raise CookieError("the cookie's domain or path is invalid", where=where, fix="export the cookies again")
    host_only = entry.get("hostOnly")
    if isinstance(host_only, bool):
        domain = domain.lstrip(".") if host_only else f".{domain.lstrip('.')}"
    try:
        return make_cookie(domain=domain, name=name, value=value, path=path, secure=entry.get("secure") is True,
                           expires_s=_json_expiry(entry, where), http_only=entry.get("httpOnly") is True,
                           same_site=_SAME_SITE.get(str(entry.get("sameSite") or "").lower(), ""))
    except ValueError as error:
        raise CookieError("the cookie's domain is not a valid host name", where=where, fix="export the cookies again") from error


def _json_expiry(entry: dict[str, Any], where: str) -> int | None:
    expiry = next((entry[key] for key in ("expirationDate", "expires", "expiry") if entry.get(key) is not None), 0)
    if entry.get("session") is True or expiry == "":
        return None
    try:
        expires = int(float(expiry))
    except (TypeError, ValueError, OverflowError) as error:
        raise CookieError("the cookie's expiry time is not a number of seconds since 1970", where=where,
                          fix="export the cookies again") from error
    if expires > _MILLISECONDS:
        expires //= 1000
    return min(expires, LATEST_S) if expires > 0 else None


def _site(url: str, where: str) -> tuple[str, bool]:
    """Return the host to which imported cookies without a domain belong, and whether the scheme of `url` is https.

    Raises CookieError if the URL has no host.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise CookieError("the cookies have no domain, so it is unknown to which site they belong", where=where,
                          fix="set cookies.url to the site's address")
    return parts.hostname, parts.scheme == "https"
