"""Mail transports: an SMTP server, a sendmail-compatible program, or by default a Maildir.

To add a transport, add a module to this package and an entry to `pipeline.registry.MAIL_TRANSPORTS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from pipeline.mail.transports.base import Transport, TransportOpener
from pipeline.mail.transports.masked import MaskedTransport, masked_stream
from pipeline.registry import MAIL_TRANSPORTS, load
from pipeline.settings import Settings
from pipeline.settings.masking import Mask

__all__ = ["Transport", "open_transport"]


def open_transport(settings: Settings, data_dir: Path, *, dialogue: TextIO | None = None) -> MaskedTransport:
    """Return the transport that [mail] selects, without connecting to the mail server.

    In the transport's results and errors, all secrets of the settings are masked. data_dir: folder in which the transport may store
    files. dialogue: stream to which the dialogue with the mail server is written, with secrets masked; None means that the dialogue is
    not written.
    """
    opener: TransportOpener = load(MAIL_TRANSPORTS[settings.mail.transport].opener)
    if dialogue is not None:  # a server may repeat credentials in any reply
        dialogue = masked_stream(dialogue, Mask.of(settings))
    return MaskedTransport(opener(settings, data_dir, dialogue=dialogue), lambda: Mask.of(settings))
