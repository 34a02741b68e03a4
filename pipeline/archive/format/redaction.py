"""Removes secrets from exchanges before they are archived, and says what was removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from pipeline.archive.format.body_fields import mask_fields
from pipeline.archive.format.decoding import decoded
from pipeline.archive.format.url_parameters import UrlParameters
from pipeline.archive.format.wide_text import wide_text
from pipeline.model import Exchange, HeaderLines, RenderedPage
from pipeline.secret_forms import SecretForms
from pipeline.urls import bare

if TYPE_CHECKING:
    from pipeline.settings import SpiderArchiveTable

MASKED = b"****"
_SHORTEST = 4
"""As in `Mask`: shorter secrets are not searched for."""
_SHORTEST_IN_BODY = 8
"""A shorter secret, such as 1234, would be found in many pages that do not contain the secret at all."""

_ALWAYS = frozenset({b"cookie", b"cookie2", b"set-cookie", b"set-cookie2", b"authorization", b"proxy-authorization", b"authentication-info",
                     b"proxy-authentication-info", b"www-authenticate", b"proxy-authenticate"})
_ATTRIBUTES = frozenset({b"expires", b"max-age", b"domain", b"path", b"secure", b"httponly", b"samesite", b"priority", b"partitioned"})
_CHALLENGE = re.compile(rb"\b(Negotiate|NTLM|Kerberos)([ \t]+)[A-Za-z0-9+/=._~-]+", re.IGNORECASE)
_USER_INFO = re.compile(rb"(?:(?<=:)|(?<![^\s\"'<>=,(]))//[^/?#\s\"'<>]*@")
"""A user name and a password, up to the last @ before the path. The scheme is not part of it: to search for each of its letters would take quadratic time."""
_INNER_USER_INFO = re.compile(rb"(%{0}3A%{0}2F%{0}2F)(?:(?!%{0}(?:2F|3F|23))[^/?#&\s\"'<>])*%{0}40".replace(b"{0}", rb"(?:25){0,8}"), re.IGNORECASE)
"""The same in a URL that is a parameter of another URL, where % may be %25, also several times. The bound keeps the search linear."""
_NOT_IN_URI = re.compile(rb"[^!-~]|[<>\"]")
"""What is percent-encoded in the URL of a record. Other characters that no URI has, such as | or {, are sent as they are (URL Standard, 4.4, query state)."""
_ONLY_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+")
_BRACKETS = re.compile(r"[\[\].]+")
_SECRET_FIELD = re.compile(r"pass|pwd|secret|token|otp", re.IGNORECASE)
"""Names of form fields whose values are always removed."""


@dataclass(frozen=True)
class Redacted:
    """An exchange without secrets. notes: what was removed or changed, such as "request header Cookie"; () if nothing was."""

    exchange: Exchange
    notes: tuple[str, ...]


class Redaction:
    """What is removed from exchanges.

    Always: the values of cookies, the credentials of Authorization and Proxy-Authorization, user names and passwords in URLs, and form
    fields whose names say that they are secret. headers, fields, params: names of further headers, of fields in request bodies, and of
    parameters in URLs; not case-sensitive. secrets: values that are replaced wherever they are found: in URLs, headers and bodies.
    """

    def __init__(self, *, headers: Iterable[str] = (), fields: Iterable[str] = (), params: Iterable[str] = (),
                 secrets: Iterable[str] = ()) -> None:
        self._headers = frozenset(name.strip().lower().encode() for name in headers)
        self._fields = frozenset(name.casefold() for name in fields)
        self._params = UrlParameters(params, MASKED)
        secrets = tuple(secrets)
        self._secrets = SecretForms(secrets, shortest=_SHORTEST)
        self._body_secrets = SecretForms(secrets, shortest=_SHORTEST_IN_BODY)

    @classmethod
    def of(cls, table: SpiderArchiveTable, secrets: Iterable[str] = ()) -> Self:
        """Return what the settings of a spider remove. secrets: values of the settings."""
        return cls(headers=table.redact_headers, fields=table.redact_fields, params=table.redact_params, secrets=secrets)

    def summary(self) -> list[str]:
        """Return one line for each kind of data that is removed, for the first record of a file."""
        lines = ["values of Cookie and Set-Cookie, credentials of Authorization and Proxy-Authorization, tokens of their challenges and answers, user info of URLs",
                 "form fields that have pass, pwd, secret, token or otp in their name", "secrets of the settings"]
        lines += [f"header {name.decode()}" for name in sorted(self._headers)]
        lines += [f"form field {name}" for name in sorted(self._fields)]
        return lines + [f"URL parameter {name}" for name in self._params.names]

    def url(self, url: str) -> str:
        """Return a URL as the archive names it: without fragment, user info and secrets."""
        return _as_uri(self._in_text(_octets(url)))

    def apply(self, exchange: Exchange) -> Redacted:
        """Return the exchange without secrets, and what was removed."""
        notes: dict[str, None] = {}  # in order, each once
        sent = _octets(exchange.url)
        named = self._in_text(sent)
        url = _as_uri(named)
        if named != sent:
            notes["parts of the URL"] = None
        changed = replace(
            exchange, url=url, reason=self._secrets.removed(exchange.reason, MASKED), request_headers=self._lines("request", exchange.request_headers, notes),
            response_headers=self._lines("response", exchange.response_headers, notes))
        if exchange.request_body:
            changed = self._request_body(changed, exchange, notes)
        if exchange.body and (self._body_secrets or self._params):
            changed = self._response_body(changed, notes)
        if exchange.rendered is not None:
            changed = replace(changed, rendered=self._rendered(exchange.rendered, notes))
        return Redacted(changed, tuple(notes))

    def _lines(self, side: str, lines: HeaderLines, notes: dict[str, None]) -> HeaderLines:
        special, out = _ALWAYS | self._headers, []
        is_secret = self._has_secret(lines)
        for name, value in lines:
            lowered = name.strip().lower()
            if lowered in special or is_secret or b"@" in value or b"%" in value or (self._params and b"=" in value):
                masked = self._value(lowered, value)
                if masked != value:
                    notes[f"{side} header {name.decode('ascii', 'backslashreplace')}"] = None
                    out.append((name, masked))
                    continue
            out.append((name, value))
        return tuple(out)

    def _has_secret(self, lines: HeaderLines) -> bool:
        return bool(self._secrets) and self._secrets.are_in(b"\n".join([each for line in lines for each in line]))

    def _value(self, name: bytes, value: bytes) -> bytes:
        if name in self._headers:
            return MASKED if value else value
        masks: dict[bytes, Callable[[bytes], bytes]] = {
            b"cookie": _cookies, b"cookie2": _cookies, b"set-cookie": _set_cookie, b"set-cookie2": _set_cookie, b"authorization": _credentials,
            b"proxy-authorization": _credentials, b"authentication-info": _all, b"proxy-authentication-info": _all, b"www-authenticate": _challenge,
            b"proxy-authenticate": _challenge}
        return self._in_text(masks[name](value) if name in masks else value)

    def _in_text(self, text: bytes) -> bytes:
        """Return a URL, or the value of a header, without user info, parameters and secrets."""
        if b"@" in text:
            text = _USER_INFO.sub(b"//", text)
        if b"%" in text:
            text = _INNER_USER_INFO.sub(rb"\1", text)
        return self._secrets.removed(self._params.masked_in_url(text), MASKED)

    def _is_secret_field(self, name: str) -> bool:
        """Return whether a field is secret by its name, or by a part of it, such as iban in customer[iban]."""
        parts = {part.casefold() for part in (name, *_BRACKETS.split(name))}
        return not parts.isdisjoint(self._fields) or any(self._params.has(part.encode("utf-8", "replace")) for part in parts) or _SECRET_FIELD.search(name) is not None

    def _request_body(self, changed: Exchange, exchange: Exchange, notes: dict[str, None]) -> Exchange:
        content_type = b",".join(value for name, value in exchange.request_headers if name.lower() == b"content-type")
        body = decoded(exchange.request_headers, exchange.request_body)
        if body is None:
            notes["the whole request body, which cannot be decoded"] = None
            return _with_body(changed, "request", MASKED)
        names: list[str] = []

        def masked(text: bytes) -> bytes:
            text, found = mask_fields(text, content_type, self._is_secret_field, MASKED)
            names.extend(found)
            return text

        without_fields = wide_text(body, content_type).changed(masked)
        notes.update((f"form field {name}" if name else "the whole request body, in which no fields can be found", None) for name in names)
        without = _removed(self._secrets, without_fields, content_type)
        if without != without_fields:
            notes["secret of the settings in the request body"] = None
        return changed if without == body else _with_body(changed, "request", without)

    def _response_body(self, changed: Exchange, notes: dict[str, None]) -> Exchange:
        body = decoded(changed.response_headers, changed.body)
        if body is None:
            notes["the response body was not searched for secrets, because it cannot be decoded"] = None
            return changed
        content_type = b",".join(value for name, value in changed.response_headers if name.lower() == b"content-type")
        without = self._in_body(body, content_type, notes, "response body, which is stored decoded")
        return changed if without == body else _with_body(changed, "response", without)

    def _rendered(self, rendered: RenderedPage, notes: dict[str, None]) -> RenderedPage:
        return replace(rendered, dom=self._in_body(rendered.dom, b"", notes, "rendered page"))

    def _in_body(self, body: bytes, content_type: bytes, notes: dict[str, None], where: str) -> bytes:
        """Return a body without secrets, and without the values of parameters in its links: a site repeats those of a session in each link."""
        without = _removed(self._body_secrets, body, content_type)
        if without != body:
            notes[f"secret of the settings in the {where}"] = None
        if not self._params:
            return without
        linked = wide_text(without, content_type).changed(self._params.masked_in_links)
        if linked != without:
            notes[f"URL parameter in the {where}"] = None
        return linked


def _removed(secrets: SecretForms, body: bytes, content_type: bytes) -> bytes:
    """Return a body without secrets: as it is, and if it is UTF-16 or UTF-32, also as UTF-8, since it may only look like that."""
    if not secrets:
        return body
    body = secrets.removed(body, MASKED)
    wide = wide_text(body, content_type)
    return wide.changed(lambda text: secrets.removed(text, MASKED)) if wide.encoding else body


def _octets(url: str) -> bytes:
    """Return a URL without what is not sent: fragment and user info."""
    return bare(url).encode("utf-8", "surrogatepass")


def _as_uri(url: bytes) -> str:
    """Return a URL in characters that a header line and an index line can contain. The URL of a host has at least the path /."""
    text = _NOT_IN_URI.sub(lambda found: b"%%%02X" % found[0][0], url).decode("ascii")
    return f"{text}/" if _ONLY_HOST.fullmatch(text) else text


def _cookies(value: bytes) -> bytes:
    """Return the value of a Cookie header without the values of the cookies."""
    return b"; ".join(_masked_pair(pair.strip()) for pair in value.split(b";") if pair.strip())


def _set_cookie(value: bytes) -> bytes:
    """Return the value of a Set-Cookie header without the value of the cookie. Unknown attributes are removed, too."""
    cookie, *attributes = value.split(b";")
    kept = [attribute for attribute in attributes
            if attribute.partition(b"=")[0].strip().lower() in _ATTRIBUTES and b"=" not in attribute.partition(b"=")[2]]
    return b";".join([_masked_pair(cookie), *kept])


def _masked_pair(pair: bytes) -> bytes:
    name, mark, _ = pair.partition(b"=")
    return name + b"=" + MASKED if mark else MASKED


def _credentials(value: bytes) -> bytes:
    """Return the value of an Authorization header without the credentials: only the scheme remains."""
    scheme, mark, _ = value.strip().partition(b" ")
    return scheme + b" " + MASKED if mark else MASKED


def _challenge(value: bytes) -> bytes:
    """Return the value of a WWW-Authenticate header without the token of a handshake (RFC 4559, 4.1)."""
    return _CHALLENGE.sub(rb"\1\2" + MASKED, value)


def _all(value: bytes) -> bytes:
    """Return the mask: the value of Authentication-Info (RFC 7615) is computed from the password."""
    return MASKED if value else value


def _with_body(exchange: Exchange, side: Literal["request", "response"], body: bytes) -> Exchange:
    """Return an exchange with a body that is stored decoded. What the headers said of the body on the wire is kept with the prefix X-Orig-."""
    lines: list[tuple[bytes, bytes]] = []
    for name, value in exchange.request_headers if side == "request" else exchange.response_headers:
        if name.lower() == b"content-length":
            lines.append((name, str(len(body)).encode()))
        lines.append((b"X-Orig-" + name if name.lower() in (b"content-length", b"content-encoding") else name, value))
    headers = tuple(lines)
    return replace(exchange, request_body=body, request_headers=headers) if side == "request" else replace(exchange, body=body, response_headers=headers)
