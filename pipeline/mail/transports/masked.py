"""Wrappers that mask secrets in the results, receipts, errors and dialogue of mail transports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOBase
from pathlib import Path
from typing import TextIO, cast

from pipeline.errors import MailError
from pipeline.mail.transports.base import Transport
from pipeline.model import Message, RecipientResult


class MaskedTransport:
    """Wraps another transport and masks secrets in its results, receipts and errors.

    mask: function that returns another function, which masks all secrets in a text. `mask` is called for each result, because secrets
    in files may have changed.
    """

    def __init__(self, inner: Transport, mask: Callable[[], Callable[[str], str]]) -> None:
        self.inner = inner
        self._mask = mask

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        with self.masked_errors():
            results = self.inner.deliver(message, file)
        mask = self._mask()
        return [replace(result, text=mask(result.text)) for result in results]

    def connect(self) -> None:
        with self.masked_errors():
            self.inner.connect()

    def abort(self) -> None:
        self.inner.abort()

    def close(self) -> None:
        self.inner.close()

    def receipt(self, address: str) -> str:
        return self._mask()(self.inner.receipt(address))

    @contextmanager
    def masked_errors(self) -> Iterator[None]:
        """Mask the secrets in an error that is raised in a `with` block."""
        try:
            yield
        except MailError as error:
            mask = self._mask()
            raise MailError(mask(error.what), where=mask(error.where), fix=mask(error.fix), retry=error.retry,
                            retry_after_s=error.retry_after_s) from error


class _MaskedStream(TextIOBase):
    def __init__(self, inner: TextIO, mask: Callable[[str], str]) -> None:
        self._inner = inner
        self._mask = mask

    def write(self, text: str, /) -> int:
        self._inner.write(self._mask(text))
        return len(text)

    def flush(self) -> None:
        self._inner.flush()


def masked_stream(inner: TextIO, mask: Callable[[str], str]) -> TextIO:
    """Return a stream that writes to `inner` and masks secrets in each text that is written at once. Closing it leaves `inner` open."""
    return cast("TextIO", _MaskedStream(inner, mask))
