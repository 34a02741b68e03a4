"""The interface of a mail transport: deliver one message to its recipients, connect, abort, close."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, TextIO

from pipeline.model import Message, RecipientResult
from pipeline.settings import Settings

ADDRESS = re.compile(r"[^\s<>\"(),:;\\\[\]\x00-\x1f\x7f@]{1,64}@[^\s<>\"(),;\\\x00-\x1f\x7f@]{1,255}")
"""An address that can be passed to a server or a program safely: no white space, brackets, quotes or control characters."""


class Transport(Protocol):
    """Delivers rendered messages.

    Only one thread at a time may call the methods, except `abort`, which may be called from another thread.
    """

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        """Deliver `file` to message.recipients; return one result for each recipient.

        Raises MailError if no recipient was submitted to the server, or if the outcome is unknown. MailError.retry says whether
        another attempt can succeed.
        """
        ...

    def connect(self) -> None:
        """Check that messages can be delivered: connect and log in, or create the folder. Raises MailError."""
        ...

    def abort(self) -> None:
        """Make the delivery in progress fail immediately. May be called from another thread."""
        ...

    def close(self) -> None:
        """Close any open connection. The next `deliver` opens a new connection."""
        ...

    def receipt(self, address: str) -> str:
        """Return a short text which says that the transport accepted a message for `address`.

        `pipeline mail test` prints this text.
        """
        ...


class TransportOpener(Protocol):
    """A function that builds a transport from the settings, without connecting yet.

    `pipeline.registry` lists these functions. data_dir: folder in which the transport may store files. dialogue: stream to which the
    transport writes its dialogue with the server, with secrets masked; None writes nothing.
    """

    def __call__(self, settings: Settings, data_dir: Path, *, dialogue: TextIO | None) -> Transport: ...
