"""Mask the secrets of the settings in all output: logs, web pages, mails and responses."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pipeline.errors import UsageError
from pipeline.settings.load import secrets
from pipeline.settings.models.root import ProxyTable, Settings

MASK = "****"
_SHORTEST = 4
"""Secrets with fewer characters are not masked, because masking a secret such as "a" would make all output unreadable."""


class Mask:
    """Replaces every known secret in a text by ****.

    A secret is found in plain, percent-encoded, HTML-escaped or JSON-escaped form.
    The class method `of` reads the secrets once, when the mask is created; later changes of a secret are not seen.
    """

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

    def in_values(self, value: Any) -> Any:
        """Return a JSON value with the secrets masked in each text and each name of a field."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self(name): self.in_values(each) for name, each in value.items()}
        return [self.in_values(each) for each in value] if isinstance(value, list) else value


def secret_values(settings: Settings) -> tuple[str, ...]:
    """Return the secrets of the settings that are masked, as they are written there, without those that are too short."""
    return tuple({value for value in _values(settings) if len(value) >= _SHORTEST})


def written_forms(value: str) -> Iterator[str]:
    """Yield a secret in each form that is masked: plain, percent-encoded, HTML-escaped, JSON-escaped."""
    yield from (value, quote(value, safe=""), quote_plus(value), escape(value), escape(value, quote=False))
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]


def _values(settings: Settings) -> Iterator[str]:
    for secret in secrets(settings):
        try:
            value = secret.reveal()
        except UsageError:
            continue  # a secret that cannot be read cannot be in the output either
        yield value
        yield from _password_in(value)
    if settings.pipeline.storage is not None:  # the credentials may be in the environment, where the settings do not name them
        yield from (os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))
    for proxy in settings.proxies.values():
        for one in proxy if isinstance(proxy, tuple) else (proxy,):
            yield from _password_in(one.url if isinstance(one, ProxyTable) else one)
    beats = [settings.heartbeat.beat, *(spider.beat for spider in settings.spiders.values())]
    yield from (beat for beat in beats if isinstance(beat, str))


def _password_in(url: str) -> Iterator[str]:
    """Yield the password of a URL, as written and percent-decoded."""
    try:
        password = urlsplit(url).password if "://" in url else None
    except ValueError:
        return
    if password:
        yield from {password, unquote(password)}
