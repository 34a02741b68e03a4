"""The interface of mail transports: deliver a message to its recipients, connect, abort, close."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, TextIO

from pipeline.model import Message, RecipientResult
from pipeline.settings import Settings

ADDRESS = re.compile(r"[^\s<>\"(),:;\\\[\]\x00-\x1f\x7f@]{1,64}@[^\s<>\"(),;\\\x00-\x1f\x7f@]{1,255}")
"""Pattern of an address that is safe to pass to a server or program: no white space, brackets, quotes or control characters."""


class Transport(Protocol):
    """Delivers rendered messages.

    The methods must not be called from several threads at the same time. Only `abort` may be called while another method is running.
    """

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        """Deliver a message to its recipients; return one result for each recipient.

        message: provides the sender and the recipients. file: the rendered message (.eml). Raises MailError if the
        message could not be submitted for any recipient, or if the outcome of the delivery is unknown. MailError.retry says whether
        another attempt can succeed.
        """
        ...

    def connect(self) -> None:
        """Check that messages can be delivered, for example by logging in to the server. Raises MailError."""
        ...

    def abort(self) -> None:
        """Make the delivery in progress fail immediately. May be called from another thread."""
        ...

    def close(self) -> None:
        """Close any open connection. The next `deliver` opens a new connection."""
        ...

    def receipt(self, address: str) -> str:
        """Return the text that `pipeline mail test` prints after a message for `address` was delivered."""
        ...


class TransportOpener(Protocol):
    """A function that builds a transport from the settings, without connecting to the mail server.

    These functions are registered in `pipeline.registry`. data_dir: folder in which the transport may store files. dialogue: stream to
    which the transport writes its dialogue with the server, with secrets masked; None means that the dialogue is not written.
    """

    def __call__(self, settings: Settings, data_dir: Path, *, dialogue: TextIO | None) -> Transport: ...
