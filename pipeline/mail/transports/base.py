"""The interface of a mail transport: deliver one message to its recipients, connect, abort, close."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, TextIO

from pipeline.model import Message, RecipientResult
from pipeline.settings import Settings

ADDRESS = re.compile(r"[^\s<>\"(),:;\\\[\]\x00-\x1f\x7f@]{1,64}@[^\s<>\"(),;\\\x00-\x1f\x7f@]{1,255}")
"""An address that can be passed on safely: no white space, brackets, quotes or control characters."""


class Transport(Protocol):
    """Delivers rendered messages. One thread at a time calls it; only `abort` may come from another thread."""

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        """Deliver `file` to message.recipients; return one result for each recipient.

        Raises MailError when no recipient was asked, or when the outcome is unknown; MailError.retry says whether
        another attempt can help.
        """
        ...

    def connect(self) -> None:
        """Check that messages can be delivered: connect and log in, or create the folder. Raises MailError."""
        ...

    def abort(self) -> None:
        """Make a delivery in progress fail at once. Called from another thread."""
        ...

    def close(self) -> None:
        """Close what is open. The next `deliver` opens it again."""
        ...

    def receipt(self, address: str) -> str:
        """Say in a few words that the transport accepted a message for `address`, for `pipeline mail test`."""
        ...


class TransportOpener(Protocol):
    """What a transport registers in `pipeline.registry`: builds it from the settings, without connecting yet.

    data_dir: where the transport may keep files. dialogue: receives the dialogue with the server, secrets masked.
    """

    def __call__(self, settings: Settings, data_dir: Path, *, dialogue: TextIO | None) -> Transport: ...
