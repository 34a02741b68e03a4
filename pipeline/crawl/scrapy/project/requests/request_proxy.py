"""The proxy that a spider or one of its middlewares sets for a request.

The meta key `proxy` of Scrapy.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import quote, urlsplit

from scrapy import Request

from pipeline.errors import ProxyError
from pipeline.session.proxies.config import proxy_url

META = "proxy"


def request_proxy(request: Request) -> str | None:
    """Return the URL of the request's own proxy, with percent-encoded credentials; None if it has none.

    Credentials may also be in a header Proxy-Authorization, as in many middlewares. Raise ProxyError if the URL is not valid.
    """
    value = request.meta.get(META)
    if not value:
        return None
    url = str(value) if "://" in str(value) else f"http://{value}"
    parts = urlsplit(url)
    if parts.username is None and (user_info := _user_info(request)):
        url = f"{parts.scheme}://{user_info}@{parts.netloc}"
    try:
        return proxy_url(url)
    except (KeyError, ValueError) as error:
        raise ProxyError("the meta key proxy of the request is not the URL of a proxy", where=request.url,
                         fix="write the URL as http://host:port") from error


def _user_info(request: Request) -> str:
    header = (request.headers.get(b"Proxy-Authorization") or b"").decode("latin-1")
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return f"{quote(user, safe='')}:{quote(password, safe='')}"
