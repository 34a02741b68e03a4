"""The keys of the index: URLs in the Sort-friendly URI Reordering Transform (SURT).

The rules are those of the Internet Archive's canonicalization, which pywb and the tools for WACZ use: the host is reversed and loses its
www, upper case, default ports, session ids, fragments and a slash at the end are dropped, and the parameters of a query are sorted.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

_URL = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_WWW = re.compile(rb"www\d*\.")
_SAFE = "!\"$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_UNCHANGED = re.compile(rb"[!\"$&'()*+,./:;<=>?@\[\\\]^_`{|}~0-9A-Za-z-]*")
_NOT_PRINTABLE = re.compile(rb"[^!-~]")
_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
_PATH_SESSIONS = (re.compile(rb"(.*/)\((?:[a-z]\([0-9a-z]{24}\))+\)/([^?]+\.aspx.*)", re.IGNORECASE),
                  re.compile(rb"(.*/)\([0-9a-z]{24}\)/([^?]+\.aspx.*)", re.IGNORECASE))
_QUERY_SESSIONS = tuple(re.compile(rb"(.*)(?:%s)(?:&(.*))?" % pattern, re.IGNORECASE) for pattern in (
    rb"jsessionid=[0-9a-z]{32}", rb"phpsessid=[0-9a-z]{32}", rb"sid=[0-9a-z]{32}", rb"aspsessionid[a-z]{8}=[a-z]{24}", rb"cfid=[^&]+&cftoken=[^&]+"))


@lru_cache(maxsize=1000)  # a page, its rendered form and the same page of the next batch
def surt(url: str) -> str:
    """Return the key of a URL. It has no space, and equal keys mean that replay tools take the URLs for the same page."""
    found = _URL.match(url.strip().encode("utf-8", "surrogatepass"))
    assert found is not None  # the pattern matches any text
    scheme, authority, path, query = (found[number] or b"" for number in range(1, 5))
    scheme = scheme.lower()
    if not authority:
        return _printable(scheme + b":" + _path(path, is_hierarchical=False) + _query(query))
    host, port = _host_and_port(authority.rpartition(b"@")[2])
    key = b",".join(reversed(host.split(b".")))
    if port and port != _DEFAULT_PORTS.get(scheme):
        key += b":" + port
    return _printable(key + b")" + _path(path, is_hierarchical=True) + _query(query))


def _printable(key: bytes) -> str:
    """Return a key in ASCII, without spaces: also where the URL was none, for example in its port."""
    return _NOT_PRINTABLE.sub(lambda found: b"%%%02X" % found[0][0], key).decode("ascii")


@lru_cache(maxsize=100)
def _host_and_port(authority: bytes) -> tuple[bytes, bytes]:
    if authority.startswith(b"["):  # an IPv6 address
        host, _, rest = authority[1:].partition(b"]")
        return host.lower(), rest.lstrip(b":")
    host, _, port = authority.partition(b":")
    host = _unescaped(host)
    if not host.isascii():
        with suppress(UnicodeError):
            host = host.decode("utf-8", "ignore").encode("idna")
    host = _escaped(host.replace(b"..", b".").strip(b".").lower())
    www = _WWW.match(host)
    return host[www.end():] if www else host, port.lstrip(b"0") or port


def _path(path: bytes, *, is_hierarchical: bool) -> bytes:
    path = _unescaped(path)
    if is_hierarchical:
        path = _normal_path(path)
    path = _escaped(path).lower()
    for pattern in _PATH_SESSIONS:
        if found := pattern.fullmatch(path):
            path = found[1] + found[2]
    return path[:-1] if len(path) > 1 and path.endswith(b"/") else path


def _normal_path(path: bytes) -> bytes:
    if b"/." not in path and b"//" not in path:
        return path or b"/"
    kept: list[bytes] = []
    for segment in path.split(b"/")[1:]:
        if segment == b".." and kept:
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    return b"/" + b"".join(segment + b"/" for segment in kept[:-1] if segment) + (kept[-1] if kept else b"")


def _query(query: bytes) -> bytes:
    if not query:
        return b""
    query = _escaped(_unescaped(query))
    for pattern in _QUERY_SESSIONS:
        if found := pattern.fullmatch(query):
            query = found[1] + (found[2] or b"")
    parameters = sorted(parameter.split(b"=", 1) for parameter in query.lower().split(b"&"))
    return b"?" + b"&".join(b"=".join(each) for each in parameters) if query else b""


def _unescaped(data: bytes) -> bytes:
    while b"%" in data:
        shorter = unquote_to_bytes(data)
        if shorter == data:
            break
        data = shorter
    return data


def _escaped(data: bytes) -> bytes:
    return data if _UNCHANGED.fullmatch(data) else quote_from_bytes(data, safe=_SAFE).encode()
