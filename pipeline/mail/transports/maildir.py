"""Deliver messages to a local Maildir, which is the default if no mail server is configured.

As https://cr.yp.to/proto/maildir.html requires, the file is written to tmp/, synced to disk, and then moved to new/. The name of the
file is derived from the Message-ID, so that a message that is delivered twice is stored only once.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TextIO

from pipeline.atomic_write import sync_folder
from pipeline.errors import MailError
from pipeline.model import Message, RecipientResult
from pipeline.settings import Settings


def open_maildir(settings: Settings, data_dir: Path, *, dialogue: TextIO | None) -> MaildirTransport:
    """Return the transport for the Maildir in data_dir whose name is the setting `maildir` of [mail]."""
    return MaildirTransport(data_dir / settings.mail.maildir)


class MaildirTransport:
    """Delivers messages to a Maildir, which is created if it is missing. Accepts every recipient."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        name = f"{hashlib.sha256(message.message_id.encode()).hexdigest()[:32]}.pipeline"
        self.connect()
        try:
            target = self._folder / "new" / name
            # When a person has read a message, the mail client moves the file to cur/ and appends a colon and flags to its name.
            if not target.exists() and not any((self._folder / "cur").glob(f"{name}*")):
                self._write(file, name, target)
        except OSError as error:
            raise MailError(f"the Maildir cannot be written: {error.strerror}", where=str(self._folder),
                            fix="free some disk space, or change `maildir` in [mail]", retry=True) from error
        return [RecipientResult(address, accepted=True, code=250, text=f"in {target}")
                for address in message.recipients]

    def connect(self) -> None:
        try:
            for part in ("tmp", "new", "cur"):
                (self._folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise MailError(f"the Maildir cannot be created: {error.strerror}", where=str(self._folder),
                            fix="change `maildir` in [mail]", retry=True) from error

    def _write(self, file: Path, name: str, target: Path) -> None:
        temporary = self._folder / "tmp" / name
        with file.open("rb") as source, open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                                             "wb") as copy:
            for line in source:  # lines are short: RFC 5322 allows 998 characters
                copy.write(line[:-2] + b"\n" if line.endswith(b"\r\n") else line)
            copy.flush()
            os.fsync(copy.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)

    def abort(self) -> None:
        """Do nothing, because writing a file does not take long."""

    def close(self) -> None:
        """Do nothing, because no file stays open."""

    def receipt(self, address: str) -> str:
        return f"delivered to {address}, in the Maildir {self._folder}"
