"""Resolve links as browsers do (URL Standard, https://url.spec.whatwg.org)."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

import ada_url

MAX_LENGTH = 8000
"""Maximum length of a URL; a link with a longer URL is ignored."""

# The URL parser does not change these characters in paths and queries. Nearly all links match _PLAIN or _ROOTED.
_VERBATIM = r"[A-Za-z0-9\-._~!$&()*+,;=:@/?%\[\]|]*"
_PLAIN = re.compile(rf"(https?://[a-z0-9.-]+(?::\d{{1,5}})?)/{_VERBATIM}")
_ROOTED = re.compile(rf"/(?!/){_VERBATIM}")
_ORIGIN = re.compile(r"https?://[^/?#]+")
_C0_AND_SPACE = "".join(map(chr, range(33)))
_STRIPPED = str.maketrans("", "", "\t\n\r")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NEVER_IN_QUERIES = frozenset(b"\"#<>'")


def absolute(link: str, base: str = "", encoding: str = "utf-8", *, routes: bool = False) -> str:
    """Return the absolute URL of a link, without fragment; "" if a browser would not request the URL.

    routes: whether a fragment that is a route (see `route_of`) is kept. base: URL against which a relative link is resolved. encoding: encoding of the page that contains the link. The query of the link
    is encoded in this encoding (URL Standard, 4.4, query state), and a character that the encoding lacks becomes &#NNN;. The rest of
    the URL is encoded in UTF-8. Percent-encoded characters in the link are unchanged.
    """
    if len(link) > MAX_LENGTH:
        return ""
    if "/." not in link and "/%2" not in link:
        if _ROOTED.fullmatch(link):
            if origin := _normal_origin(base):
                return origin + link
        elif (plain := _PLAIN.fullmatch(link)) and _normal_origin(plain[1]):
            return link
    if not link.isascii():
        link = _with_encoded_query(_SURROGATE.sub("\ufffd", link), encoding)
    url = joined(link, base)
    url = without_anchor(url) if routes else url.partition("#")[0]
    return url if url.startswith(("http://", "https://")) and len(url) <= MAX_LENGTH else ""


def route_of(url: str) -> str:
    """Return the fragment of a URL, with its #, if it is a route such as #/products or #!/products; "" for any other fragment.

    By a route, the scripts of a page choose what it shows, so that one document is many pages in a browser.
    """
    mark, fragment = url.partition("#")[1:]
    return mark + fragment if fragment.startswith(("/", "!")) else ""


def without_anchor(url: str) -> str:
    """Return a URL without its fragment, unless that is a route."""
    return url.partition("#")[0] + route_of(url)


def redirect_target(location: bytes | str, url: str) -> str:
    """Return the URL to which `url` redirects, without fragment; "" if a browser would not follow it.

    Only a route of `url` is kept, or replaced by that of the location (RFC 9110, 10.2.2).

    location: value of the Location header, as bytes or decoded as Latin-1. Bytes outside ASCII are percent-encoded.
    """
    octets = location.encode("latin-1", "replace") if isinstance(location, str) else location
    route = route_of(url)
    target = absolute("".join(chr(octet) if octet < 0x80 else f"%{octet:02X}" for octet in octets), url, routes=bool(route))
    return target + route if target and "#" not in target else target


def target_of(url: str) -> str:
    """Return path and query of a URL, as they appear in the first line of a request (RFC 9112, 3.2.1)."""
    return "/" + url.partition("#")[0].split("/", 3)[3]


def is_http(url: str) -> bool:
    """Return whether a text is an absolute http or https URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def bare(url: str) -> str:
    """Return an absolute URL without user info and fragment. One without a host, such as about:blank, has no user info."""
    url = url.partition("#")[0]
    if url.count("/") < 2:
        return url
    scheme, _, authority, *rest = url.split("/", 3)
    return "/".join([scheme, "", authority.rpartition("@")[2], *rest]) if "@" in authority else url


def base_of(href: str, url: str) -> str:
    """Return the URL against which the relative links of a page at `url` are resolved (HTML, 4.2.3).

    href: the href attribute of the page's first <base> element that has one.
    """
    base = joined(href, url)
    return url if not base or base.startswith(("data:", "javascript:")) else base


def joined(link: str, base: str) -> str:
    """Return the absolute URL of a link with any scheme, or "" if the result is not a valid URL.

    base: the absolute URL against which the link is resolved; "" if the link is absolute.
    """
    try:
        return ada_url.join_url(base, link) if base else ada_url.normalize_url(link)
    except ValueError:
        return ""


@lru_cache(maxsize=1000)  # all links of a page have the same base URL
def _normal_origin(url: str) -> str:
    """Return the scheme, host and port of a URL if they are already normalized, otherwise ""."""
    origin = _ORIGIN.match(url)
    return origin[0] if origin and _is_normal(origin[0]) else ""


@lru_cache(maxsize=10_000)
def _is_normal(origin: str) -> bool:
    return joined(origin, "") == f"{origin}/"


def _with_encoded_query(link: str, encoding: str) -> str:
    head, mark, rest = link.partition("?")
    if not mark or "#" in head:
        return link
    query = rest.partition("#")[0].rstrip(_C0_AND_SPACE).translate(_STRIPPED)
    if query.isascii():
        return link
    data = _encoded(query, encoding)
    return f"{head}?" + "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in _NEVER_IN_QUERIES else f"%{byte:02X}" for byte in data)


def _encoded(query: str, encoding: str) -> bytes:
    if encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32")):  # Encoding Standard, 4.3: output encodings
        encoding = "utf-8"
    try:
        return query.encode(encoding)
    except LookupError:
        return query.encode()
    except UnicodeEncodeError:
        return b"".join(_encoded_character(character, encoding) for character in query)


def _encoded_character(character: str, encoding: str) -> bytes:
    try:
        return character.encode(encoding)
    except UnicodeEncodeError:
        return b"%%26%%23%d%%3B" % ord(character)
