"""Programs that mail asks for something: a sendmail-compatible one that takes a message, one that prints a token.

Run without a shell, in a process group of their own, with a time limit and a cap on what they say.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from pipeline.errors import MailError
from pipeline.mail.transports.smtp import ADDRESS
from pipeline.model import Message, RecipientResult
from pipeline.text import clean_line

_SAID_BYTES = 4000
_TOKEN_BYTES = 16_384
TOKEN_S = 30.0
DELIVERY_S = 600.0
# sysexits(3): what cannot pass by waiting. 64 (usage) and 78 (configuration) can: a person corrects them.
_REFUSALS = {65: "the message is not as it should be", 67: "no such user", 68: "no such host", 77: "not permitted"}


class CommandTransport:
    """Hands each message to `command`, with `-i -f SENDER -- RECIPIENT…` behind its own options."""

    def __init__(self, command: Sequence[str], *, timeout_s: float = DELIVERY_S) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        fit = [address for address in message.recipients if ADDRESS.fullmatch(address) and not address.startswith("-")]
        unfit = [RecipientResult(address, accepted=False, code=553, text="no address a command can be given")
                 for address in message.recipients if address not in fit]
        if not fit:
            return unfit
        with tempfile.TemporaryFile() as said:
            code = self._run([*self._command, "-i", "-f", message.sender, "--", *fit], file, said)
            said.seek(0)
            words = clean_line(said.read(_SAID_BYTES).decode("utf-8", "replace"), 300)
        if code == 0:
            return [*unfit, *(RecipientResult(address, accepted=True, code=250, text=f"taken by {self._name}")
                              for address in fit)]
        if code in _REFUSALS:
            text = f"{_REFUSALS[code]} (exit code {code}{': ' + words if words else ''})"
            return [*unfit, *(RecipientResult(address, accepted=False, code=550, text=text) for address in fit)]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise MailError(f"ended with {how}{': ' + words if words else ''}", where=self._name,
                        fix="see what it wants: run it by hand, or read its log", retry=True)

    @property
    def _name(self) -> str:
        return Path(self._command[0]).name

    def _run(self, arguments: Sequence[str], file: Path, said: IO[bytes]) -> int:
        with tempfile.TemporaryFile() as unix:  # a program that does not read must not hold us up
            try:
                with file.open("rb") as source:
                    for line in source:  # as sendmail wants it: lines end with LF
                        unix.write(line[:-2] + b"\n" if line.endswith(b"\r\n") else line)
                unix.seek(0)
            except OSError as error:
                raise MailError(f"the message cannot be read: {error.strerror}", where=str(file),
                                fix="drop it with `pipeline outbox drop`") from error
            self._process = _start(arguments, self._name, stdin=unix, stdout=said, stderr=said)
        try:
            return self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired as error:
            self.abort()
            self._process.wait()
            raise MailError(f"did not end within {self._timeout_s:g} s", where=self._name,
                            fix="see what it waits for: run it by hand", retry=True) from error

    def connect(self) -> None:
        """See that the program is there and may be run."""
        path = self._command[0]
        found = os.access(path, os.X_OK) if "/" in path else any(
            os.access(Path(folder, path), os.X_OK) for folder in os.get_exec_path())
        if not found:
            raise _missing(self._name)

    def abort(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            _kill(process)

    def close(self) -> None:
        """Nothing is kept open."""


def token_of(command: Sequence[str], *, timeout_s: float = TOKEN_S) -> str:
    """The access token a command prints: its first line. Raises MailError; what it printed is never shown."""
    name = Path(command[0]).name
    with tempfile.TemporaryFile() as printed:
        process = _start(command, name, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            process.wait()
            raise MailError(f"printed no token within {timeout_s:g} s", where=f"mail.token_command: {name}",
                            fix="run it by hand: it may wait for a login", retry=True) from error
        printed.seek(0)
        lines = printed.read(_TOKEN_BYTES).decode("utf-8", "replace").split("\n")
    token = lines[0].strip()
    if code != 0 or not token or not token.isascii() or not token.isprintable() or " " in token:
        why = f"ended with code {code}" if code else "printed no token on its first line"
        raise MailError(why, where=f"mail.token_command: {name}", fix="run it by hand and log in where it asks", retry=True)
    return token


def _start(arguments: Sequence[str], name: str, *, stdin: int | IO[bytes], stdout: IO[bytes],
           stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(arguments, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)  # noqa: S603  the user's own program, no shell
    except (OSError, ValueError) as error:
        raise _missing(name) from error


def _missing(name: str) -> MailError:
    return MailError("there is no such program, or it may not be run", where=name, fix="correct the path in [mail]",
                     retry=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
