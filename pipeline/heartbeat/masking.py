"""The last look at what leaves: no secret of the settings is in it, however a site or a spider put it there."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from urllib.parse import quote, unquote, urlsplit

from pipeline.errors import UsageError
from pipeline.settings import Settings, secrets
from pipeline.settings.tables import ProxyTable

MASK = "****"
_SHORTEST = 4
"""Masking "a" would mask half of every line."""


class Mask:
    """Replaces every known secret, as it is, percent-encoded or HTML-escaped. Secrets are read once."""

    def __init__(self, values: tuple[str, ...] = ()) -> None:
        forms = {form for value in values for form in (value, quote(value, safe=""), escape(value))}
        self._forms = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)

    @classmethod
    def of(cls, settings: Settings, *more: str) -> Mask:
        return cls((*_values(settings), *more))

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def _values(settings: Settings) -> Iterator[str]:
    for secret in secrets(settings):
        try:
            yield secret.reveal()
        except UsageError:
            continue  # not there, so it cannot be in an answer either
    for proxy in settings.proxies.values():
        for one in proxy if isinstance(proxy, tuple) else (proxy,):
            password = urlsplit(one.url if isinstance(one, ProxyTable) else one).password
            if password:
                yield from {password, unquote(password)}
    beats = [settings.heartbeat.beat, *(spider.beat for spider in settings.spiders.values())]
    yield from (beat for beat in beats if isinstance(beat, str))
