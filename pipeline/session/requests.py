"""Prepares the `start` and `login` requests in the settings.

URL, headers and body. No request is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from pipeline.errors import UsageError
from pipeline.session.login.http_auth import HttpAuth, basic
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.settings import AuthTable, Pairs, RequestTable, Secret


@dataclass(frozen=True)
class PreparedStart:
    """A request that is ready to be sent. Its repr omits every field that may contain a secret.

    auth: the credentials for Digest authentication, or None. For the other kinds of authentication, `headers` already has the
    Authorization header.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    auth: HttpAuth | None = field(default=None, repr=False)


def prepare(start: RequestTable) -> PreparedStart:
    """Return the request that a settings table describes, with its secrets filled in.

    Parameters with an empty value are omitted, repeated keys are kept, and a form is encoded in the encoding that the table
    names. Raises UsageError if a secret is not available or a header is invalid.
    """
    encoding = start.encoding or "utf-8"
    url, credentials = _without_credentials(start.url)
    body, content_type = _body(start, encoding)
    headers = {"Content-Type": content_type} if content_type else {}
    for name, value in start.headers.items():
        _put(headers, name, reveal(value))
    digest = None
    if start.auth is not None:
        if start.auth.type == "digest":
            digest = HttpAuth(start.auth, TrustedOrigins([url], "headers_for"), where="start.auth")
        else:
            _put(headers, "Authorization", _authorization(start.auth))
    elif credentials is not None and "authorization" not in {name.lower() for name in headers}:
        headers["Authorization"] = basic(*credentials)
    return PreparedStart(
        method=(start.method or ("POST" if body is not None else "GET")).upper(),
        url=with_params(url, start.params, encoding),
        headers=tuple((name, _sendable(name, value)) for name, value in headers.items()),
        body=body or b"",
        cookies={name: _sendable(name, reveal(value)) for name, value in start.cookies.items()},
        auth=digest)


def reveal(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def with_params(url: str, params: Pairs | None, encoding: str = "utf-8") -> str:
    """Return the URL with `params` added to its query. None and "" are omitted; a list becomes one pair for each value."""
    added = urlencode([pair for pair in pairs(params) if pair[1] != ""], encoding=encoding, errors="xmlcharrefreplace")
    if not added:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))


def pairs(table: Pairs | None) -> list[tuple[str, str]]:
    """Return the keys and values of a table as text. None is omitted; a list becomes one pair for each value."""
    entries = table.items() if isinstance(table, Mapping) else table or ()
    return [(str(key), text) for key, value in entries for text in _texts(value)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif value is not None:
        yield str(value)


def _body(start: RequestTable, encoding: str) -> tuple[bytes | None, str]:
    """Return the body of the request and its Content-Type.

    The Content-Type is "" if the body is plain text. Without a body, the result is (None, "").
    """
    if start.form is not None:
        text = urlencode(pairs(start.form), encoding=encoding, errors="xmlcharrefreplace")
        return text.encode("ascii"), "application/x-www-form-urlencoded"
    if start.json_ is not None:
        try:
            text = json.dumps(start.json_, ensure_ascii=False, allow_nan=False, default=_json_text)
        except (TypeError, ValueError) as error:
            raise UsageError("the `json` setting contains a number that JSON cannot represent (nan or inf)", where=start.url, fix="remove the number") from error
        return text.encode(), "application/json"
    if start.body is not None:
        try:
            return start.body.encode(encoding), ""
        except UnicodeEncodeError as error:
            raise UsageError(f"the `body` setting contains characters that {encoding} cannot encode", where=start.url,
                             fix="change the `encoding` setting") from error
    return None, ""


def _json_text(value: object) -> str:
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _authorization(auth: AuthTable) -> str:
    if auth.type == "bearer":
        assert auth.token is not None
        return f"Bearer {auth.token.reveal()}"
    return basic(*_user_password(auth))


def _user_password(auth: AuthTable) -> tuple[str, str]:
    assert auth.user is not None
    assert auth.password is not None
    return auth.user, auth.password.reveal()


def _without_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    parts = urlsplit(url)
    user_info, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = user_info.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def _put(headers: dict[str, str], name: str, value: str) -> None:
    """Set a header and remove headers with the same name. Names are compared without regard to case."""
    for known in [known for known in headers if known.lower() == name.lower()]:
        del headers[known]
    headers[name] = value


def _sendable(name: str, value: str) -> str:
    if any(char in value for char in "\r\n\0"):
        raise UsageError(f"the value of {name!r} contains a line break", fix="remove the line break from the setting")
    return value
