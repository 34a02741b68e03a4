"""The last look at what leaves: no secret of the settings is in it, however a site or a spider put it there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pipeline.errors import UsageError
from pipeline.settings.load import secrets
from pipeline.settings.models.root import ProxyTable, Settings

MASK = "****"
_SHORTEST = 4
"""Masking "a" would mask half of every line."""


class Mask:
    """Replaces every known secret, as it is, percent-encoded, HTML-escaped or as JSON has it. Secrets are read once."""

    def __init__(self, values: tuple[str, ...] = ()) -> None:
        forms = {form for value in values for form in written_forms(value)}
        self._forms = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)

    @classmethod
    def of(cls, settings: Settings, *more: str) -> Mask:
        return cls((*_values(settings), *more))

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def written_forms(value: str) -> Iterator[str]:
    """A secret as it is, percent-encoded, HTML-escaped and as JSON has it."""
    yield from (value, quote(value, safe=""), quote_plus(value), escape(value), escape(value, quote=False))
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]


def _values(settings: Settings) -> Iterator[str]:
    for secret in secrets(settings):
        try:
            value = secret.reveal()
        except UsageError:
            continue  # not there, so it cannot be in an answer either
        yield value
        yield from _password_in(value)
    for proxy in settings.proxies.values():
        for one in proxy if isinstance(proxy, tuple) else (proxy,):
            yield from _password_in(one.url if isinstance(one, ProxyTable) else one)
    beats = [settings.heartbeat.beat, *(spider.beat for spider in settings.spiders.values())]
    yield from (beat for beat in beats if isinstance(beat, str))


def _password_in(url: str) -> Iterator[str]:
    """The password of a URL, as it stands there and as it is meant."""
    try:
        password = urlsplit(url).password if "://" in url else None
    except ValueError:
        return
    if password:
        yield from {password, unquote(password)}
