"""A Maildir on this machine: where messages land when no mail server is set, and what tests read.

Delivery is that of https://cr.yp.to/proto/maildir.html: written under tmp/, synced, then linked into new/. The
name comes from the Message-ID, so that the same message delivered again is the same file.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pipeline.atomic_write import sync_folder
from pipeline.errors import MailError
from pipeline.model import Message, RecipientResult

_CHUNK = 1 << 20


class MaildirTransport:
    """Delivers into `folder`, created when it is not there; every recipient is accepted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        name = f"{hashlib.sha256(message.message_id.encode()).hexdigest()[:32]}.pipeline"
        self.connect()
        try:
            target = self._folder / "new" / name
            # A reader moves what was read to cur/ and adds flags behind a colon.
            if not target.exists() and not any((self._folder / "cur").glob(f"{name}*")):
                self._write(file, name, target)
        except OSError as error:
            raise MailError(f"the Maildir cannot be written: {error.strerror}", where=str(self._folder),
                            fix="free some disk space, or change [mail] maildir", retry=True) from error
        return [RecipientResult(address, accepted=True, code=250, text=f"in {target}")
                for address in message.recipients]

    def connect(self) -> None:
        try:
            for part in ("tmp", "new", "cur"):
                (self._folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise MailError(f"the Maildir cannot be made: {error.strerror}", where=str(self._folder),
                            fix="change [mail] maildir", retry=True) from error

    def _write(self, file: Path, name: str, target: Path) -> None:
        temporary = self._folder / "tmp" / name
        with file.open("rb") as source, open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                                             "wb") as copy:
            for line in source:  # RFC 5322 allows 998 characters, so that a line is a small thing
                copy.write(line[:-2] + b"\n" if line.endswith(b"\r\n") else line)
            copy.flush()
            os.fsync(copy.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)

    def close(self) -> None:
        """Nothing is kept open."""

    def abort(self) -> None:
        """A file is written soon enough."""
