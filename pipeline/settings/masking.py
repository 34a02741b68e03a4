"""Mask the secrets of the settings in all output: logs, web pages, mails and responses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel

from pipeline.errors import UsageError
from pipeline.secret_forms import SecretForms
from pipeline.settings.fields.secret import Secret
from pipeline.settings.load import secrets
from pipeline.settings.models.root import ProxyTable, Settings
from pipeline.text import with_texts

MASK = "****"
_SHORTEST = 4
"""Secrets with fewer characters are not masked, because masking a secret such as "a" would make all output unreadable."""
READ_AGAIN_S = 10.0
"""How old the secrets may be that a transaction masks, in seconds. With 200 spiders, to read them takes 16 ms."""
OBTAINED = 50
"""How many obtained secrets are masked, the last ones: old access tokens have expired."""


class Mask:
    """Replaces every known secret in a text by ****, in each form that `SecretForms` finds.

    credentials: texts such as user:password, which are masked in base64 only.
    The class method `of` reads the secrets once, when the mask is created; later changes of a secret are not seen.
    """

    def __init__(self, values: Iterable[str] = (), credentials: Iterable[str] = ()) -> None:
        self.forms = SecretForms((value for value in values if len(value) >= _SHORTEST), shortest=_SHORTEST, credentials=credentials)

    @classmethod
    def of(cls, settings: Settings, *more: str) -> Mask:
        return cls((*_values(settings), *more), _credentials(settings))

    def __call__(self, text: str) -> str:
        return self.forms.removed_from_text(text, MASK)

    def in_values(self, value: Any) -> Any:
        """Return a JSON value with the secrets masked in each text and each name of a field."""
        return with_texts(value, self, self)


class CurrentMask:
    """Masks the secrets that the settings refer to now, and those that this process has obtained since, such as access tokens.

    The secrets are read when the first text is masked, and again after `current` was called. settings: None if there are none, as in a store
    that was opened without settings. Thread-safe.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._obtained: tuple[str, ...] = ()
        self._forms: SecretForms | None = None
        self._read_s = 0.0

    def use(self, settings: Settings) -> None:
        """Mask the secrets of other settings from now on."""
        self._settings, self._forms = settings, None

    def add(self, secret: str) -> None:
        """Mask a secret that this process has obtained. Only the last OBTAINED of them are remembered."""
        if secret not in self._obtained:
            self._obtained, self._forms = (*self._obtained, secret)[-OBTAINED:], None

    def current(self) -> Self:
        """Return this mask. If it has read the secrets more than READ_AGAIN_S ago, it reads them again, because they may have been replaced."""
        if time.monotonic() - self._read_s > READ_AGAIN_S:
            self._forms = None
        return self

    def __call__(self, text: str) -> str:
        forms = self._forms
        if forms is None:
            self._read_s = time.monotonic()
            self._forms = forms = (Mask(self._obtained) if self._settings is None else Mask.of(self._settings, *self._obtained)).forms
        return forms.removed_from_text(text, MASK)  # not through Mask, because each log line needs it


def secret_values(settings: Settings) -> tuple[str, ...]:
    """Return the secrets of the settings that are masked, as they are written there, without those that are too short."""
    return tuple({value for value in _values(settings) if len(value) >= _SHORTEST})


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


def _credentials(part: object) -> Iterator[str]:
    """Yield user:password and NUL user NUL password (RFC 7617, 2; RFC 4616, 2) for each user name and password in a part of the settings."""
    if isinstance(part, BaseModel):
        user, secret = getattr(part, "user", None), getattr(part, "password", None)
        if isinstance(user, str) and isinstance(secret, Secret):
            try:
                password = secret.reveal()
            except UsageError:
                password = ""
            if len(password) >= _SHORTEST:
                yield from (f"{user}:{password}", f"\0{user}\0{password}")
        for name in part.model_fields_set:
            yield from _credentials(getattr(part, name))
    elif isinstance(part, (dict, tuple, list)):
        for each in part.values() if isinstance(part, dict) else part:
            yield from _credentials(each)


def _password_in(url: str) -> Iterator[str]:
    """Yield the password of a URL, as written and percent-decoded."""
    try:
        password = urlsplit(url).password if "://" in url else None
    except ValueError:
        return
    if password:
        yield from {password, unquote(password)}
