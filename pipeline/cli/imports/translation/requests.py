"""Translate the request of another program's job into `start`, `auth`, `headers` and other keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pipeline.cli.imports.imported import Imported, ImportedSpider
from pipeline.settings.fields.scalars import SECRET_WORDS
from pipeline.text import shown_url

_SECRET_PARAMETERS = frozenset(["key", "auth", "sig", "signature", "pwd", "apikey", "access_key", "session", "sessionid", "sid"])
_SECRET_HEADERS = frozenset(["authorization", "proxy-authorization", "x-auth", "x-api-key", "x-csrf-token"])
_OURS = frozenset(["host", "connection", "content-length", "transfer-encoding", "accept-encoding", "if-none-match", "if-modified-since"])
_TEMPLATE = re.compile(r"\{[{%]")


def is_secret(name: str) -> bool:
    """Return whether the name of a field or parameter says that its value is a secret."""
    return name.lower() in _SECRET_PARAMETERS or SECRET_WORDS.search(name) is not None


def unusable_url(url: object) -> str:
    """Return why a URL cannot be the start of a spider; "" if it can."""
    if not isinstance(url, str) or not url.strip():
        return "it has no URL"
    if _TEMPLATE.search(url):
        return "its URL is a template, which is filled in at each run; a spider's `start` is fixed"
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        return "its URL is not valid"
    if parts.scheme.lower() not in ("http", "https"):
        return f"its URL begins with {parts.scheme or url[:20]}:, and only http and https are fetched"
    return "" if parts.hostname else "its URL has no host"


class SpiderRequest:
    """The request with which a spider starts. `finish` writes it to the spider's table."""

    def __init__(self, imported: Imported, spider: ImportedSpider, url: str) -> None:
        """url: see unusable_url. Its credentials and secret parameters are taken out of it."""
        self._imported = imported
        self._spider = spider
        self._keys: dict[str, Any] = {}
        parts = urlsplit(url.strip())
        self._keys["url"] = self._without_secrets(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")))
        if parts.username:
            self.credentials(unquote(parts.username), unquote(parts.password or ""))

    @property
    def url(self) -> str:
        return str(self._keys["url"])

    def _without_secrets(self, url: str) -> str:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        secret = [name for name, value in pairs if value and is_secret(name)]
        for name in secret:
            self._spider.leave_out(f"url: {name}", "the parameter looks like a secret, which the settings never contain, so the URL lacks it; "
                                   "send it as a header if the site accepts that")
        if not secret:
            return url
        return urlunsplit(parts._replace(query=urlencode([pair for pair in pairs if pair[0] not in secret])))

    def secret(self, value: str, label: str, what: str) -> dict[str, str]:
        return self._imported.secret(value, self._spider.name, label, f"{what} of {self._spider.title}, for {shown_url(self.url)}")

    def credentials(self, user: str, password: str) -> None:
        """HTTP authentication with user name and password."""
        if ":" in user:
            self._spider.leave_out("user name", "a user name of HTTP authentication cannot contain a colon")
            return
        self._spider.table["auth"] = {"user": user, "password": self.secret(password, "password", f"the password of {user}")}

    def headers(self, headers: object, key: str = "headers") -> None:
        """Headers by name. Credentials and cookies become references to secrets."""
        if not isinstance(headers, Mapping):
            if headers:
                self._spider.leave_out(key, "it is not a table of headers")
            return
        plain: dict[str, Any] = {}
        for name, value in headers.items():
            lower, text = str(name).strip().lower(), str(value)
            if _TEMPLATE.search(text):
                self._spider.leave_out(f"{key}: {name}", "it is a template, which is filled in at each request")
            elif lower in _OURS:
                self._spider.leave_out(f"{key}: {name}", "the program sets this header itself")
            elif lower == "user-agent":
                self._spider.table["user_agent"] = text
            elif lower == "cookie":
                self.cookies(dict(_cookie_pairs(text)), key=f"{key}: {name}")
            elif lower in _SECRET_HEADERS or is_secret(lower):
                plain[str(name).strip()] = self.secret(text, lower, f"the header {name}")
            else:
                plain[str(name).strip()] = text
        if plain:
            self._spider.table["headers"] = {**self._spider.table.get("headers", {}), **plain}

    def cookies(self, cookies: object, key: str = "cookies") -> None:
        """Cookies by name. Each value is a secret, since most cookies keep somebody logged in."""
        if not isinstance(cookies, Mapping):
            if cookies:
                self._spider.leave_out(key, "it is not a table of cookies")
            return
        found = {str(name): self.secret(str(value), f"cookie_{name}", f"the cookie {name}") for name, value in cookies.items()}
        self._keys["cookies"] = {**self._keys.get("cookies", {}), **found}

    def method(self, method: object) -> None:
        if method and str(method).upper() != "GET":
            self._keys["method"] = str(method).upper()

    def body(self, data: object, *, as_json: bool = False, key: str = "data") -> None:
        """The body: a table is a form or JSON; a text is a form if it is written as one. Fields with secrets are left out."""
        if data is None or data == "":
            return
        if isinstance(data, str) and as_json:
            try:
                data = json.loads(data)
            except ValueError:
                as_json = False
        if isinstance(data, str) and _TEMPLATE.search(data):
            self._spider.leave_out(key, "it is a template, which is filled in at each request")
        elif isinstance(data, Mapping) or (as_json and not isinstance(data, str)):
            cleaned = self._without_secret_fields(data, key)
            self._keys["json" if as_json else "form"] = cleaned
        elif isinstance(data, str) and re.fullmatch(r"[^=&\s]+=[^&\s]*(&[^=&\s]+=[^&\s]*)*", data):
            pairs = [[name, value] for name, value in parse_qsl(data, keep_blank_values=True)]
            self._keys["form"] = [pair for pair in pairs if not self._is_left_out(pair[0], key)]
        elif isinstance(data, str) and not re.search(r"(?i)pass|secret|token|key", data):
            self._keys["body"] = data
        else:
            self._spider.leave_out(key, "the body may contain a secret, which the settings never contain")

    def _is_left_out(self, name: str, key: str) -> bool:
        if is_secret(name):
            self._spider.leave_out(f"{key}: {name}", "the field looks like a secret, which the settings never contain; for a login, add [spiders."
                                   f"{self._spider.name}.login]")
            return True
        return False

    def _without_secret_fields(self, value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {str(name): self._without_secret_fields(inner, key) for name, inner in value.items()
                    if inner is not None and not self._is_left_out(str(name), key)}
        return [self._without_secret_fields(inner, key) for inner in value if inner is not None] if isinstance(value, (list, tuple)) else value

    def params(self, params: object) -> None:
        """Parameters that are added to the query of the URL."""
        if isinstance(params, Mapping):
            self._keys["params"] = self._without_secret_fields(params, "params")
        elif params:
            self._spider.leave_out("params", "it is not a table of parameters")

    def proxy(self, url: object, key: str) -> None:
        """The proxy with this URL; its password becomes a reference to a secret."""
        if not url:
            return
        name = self._imported.proxy(str(url).strip())
        if name is None:
            self._spider.leave_out(key, "it is not the URL of an HTTP or SOCKS5 proxy")
        elif self._spider.table.get("proxy", name) != name:
            self._spider.leave_out(key, f"a spider has one proxy, which is {self._spider.table['proxy']}; this one is in [proxies.{name}]")
        else:
            self._spider.table["proxy"] = name

    def finish(self) -> None:
        """Write the request to the spider's table."""
        self._spider.table["start"] = [self._keys if len(self._keys) > 1 else self._keys["url"]]


def _cookie_pairs(header: str) -> list[tuple[str, str]]:
    """Return the cookies of a Cookie header (RFC 6265, 4.2)."""
    pairs = [each.strip().partition("=") for each in header.split(";")]
    return [(name.strip(), value.strip()) for name, equals, value in pairs if equals and name.strip()]
