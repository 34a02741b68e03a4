"""Deliver texts to a notification channel, such as Slack or ntfy, through a process with Apprise."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import MailError, UsageError
from pipeline.model import Message, RecipientResult
from pipeline.text import clean_line

TIMEOUT_S = 60.0
"""How long the process may take for one text, before it is killed."""
INSTALL = "run `pip install 'crawl-to-inbox[channels]'`"
_PROGRAM = Path(__file__).with_name("apprise_process.py")
_READ_BYTES = 65536
_MAX_ANSWER_BYTES = 1 << 20


class ChannelTransport:
    """Delivers the texts of one channel.

    reference: how the settings refer to the URL, such as "env:SLACK_URL". url: function that returns the URL; raises UsageError if
    it cannot be read. timeout_s: time limit for one text.
    """

    def __init__(self, reference: str, url: Callable[[], str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._reference = reference
        self._url = url
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._service = ""

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        """Send the text in `file` (see ChannelText). Raises MailError."""
        try:
            text = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise MailError(f"the file with the text cannot be read: {reason}", where=str(file), retry=isinstance(error, OSError)) from error
        self._ask(text)
        return [RecipientResult(address, accepted=True, text=f"accepted by {self._service}") for address in message.recipients]

    def send(self, text: dict[str, Any]) -> str:
        """Send a text that is not in the outbox; return the name of the service. Raises MailError."""
        self._ask(text)
        return self._service

    def connect(self) -> None:
        """Check the URL; nothing is sent. Raises MailError."""
        self._ask(None)

    def abort(self) -> None:
        """End the process. A text that is being sent counts as not sent."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()  # closes the pipes

    def receipt(self, address: str) -> str:
        return f"{address}: accepted by {self._service}"

    def _ask(self, text: dict[str, Any] | None) -> None:
        """Give the process a text, or only the URL, and wait for its answer. Raises MailError."""
        if find_spec("apprise") is None:
            raise MailError("notification channels need the package apprise, which is not installed", where=self._reference, fix=INSTALL, retry=True)
        try:
            request = {"url": self._url()} | ({"text": text} if text is not None else {})
        except UsageError as error:
            raise MailError(error.what, where=self._reference, fix=error.fix, retry=error.retry) from error
        answer = self._answer(json.dumps(request).encode() + b"\n")
        self._service = clean_line(answer.get("service", ""), 60)
        if answer.get("error"):
            raise MailError(clean_line(answer["error"], 300), where=self._reference, fix=answer.get("fix", ""), retry=answer.get("retry", False),
                            retry_after_s=answer.get("retry_after_s", 0.0))

    def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            process = self._running()
            assert process.stdin is not None
            process.stdin.write(request)
            process.stdin.flush()
            line = self._line(process)
        except OSError as error:
            self.close()
            raise MailError(f"the process that sends to channels cannot be used: {error.strerror}", where=self._reference, retry=True) from error
        if not line.endswith(b"\n"):
            self.close()
            raise MailError(f"the service did not take the text within {self._timeout_s:g} s" if line is _LATE else
                            "the process that sends to channels ended early", where=self._reference, retry=True)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                # -P: the folder of the program is not searched for modules. A session of its own: Ctrl-C must not end a delivery.
                self._process = subprocess.Popen(  # noqa: S603  a program of this package
                    [sys.executable, "-P", str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
            return self._process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the next line that the process writes; a text without line end if the process ended, _LATE if it took too long."""
        assert process.stdout is not None
        output, found, until = process.stdout.fileno(), b"", time.monotonic() + self._timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not found.endswith(b"\n") and len(found) < _MAX_ANSWER_BYTES:
                if not selector.select(max(until - time.monotonic(), 0.0)):
                    return _LATE
                part = os.read(output, _READ_BYTES)
                if not part:
                    break
                found += part
        return found


_LATE = b"late"
