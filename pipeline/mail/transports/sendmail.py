"""Deliver mail through a sendmail-compatible program, and get OAuth2 access tokens from a program.

Each program is started without a shell and in its own process group. Its run time is limited, and so is the amount of output that is
read.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TextIO

from pipeline.errors import MailError
from pipeline.mail.transports.base import ADDRESS
from pipeline.model import Message, RecipientResult
from pipeline.settings import Settings
from pipeline.text import clean_line

_OUTPUT_BYTES = 4000
_TOKEN_BYTES = 16_384
TOKEN_TIMEOUT_S = 30.0
DELIVERY_TIMEOUT_S = 600.0
# Exit codes of sysexits(3) after which a retry cannot succeed. After 64 (usage) or 78 (configuration), a person may correct the mistake.
_REFUSALS = {65: "the message has a wrong format", 67: "no such user", 68: "no such host", 77: "not permitted"}


def open_sendmail(settings: Settings, data_dir: Path, *, dialogue: TextIO | None) -> SendmailTransport:
    """Return the transport for the program in the setting `command` of [mail]."""
    assert settings.mail.command is not None
    return SendmailTransport(settings.mail.command)


class SendmailTransport:
    """Delivers each message by running a sendmail-compatible program.

    command: the program with its options; the arguments `-i -f SENDER -- RECIPIENT…` are appended.
    """

    def __init__(self, command: Sequence[str], *, timeout_s: float = DELIVERY_TIMEOUT_S) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        safe = [address for address in message.recipients if ADDRESS.fullmatch(address) and not address.startswith("-")]
        unsafe = [RecipientResult(address, accepted=False, code=553, text="the address contains characters that cannot be passed to a program safely")
                  for address in message.recipients if address not in safe]
        if not safe:
            return unsafe
        with tempfile.TemporaryFile() as output:
            code = self._run([*self._command, "-i", "-f", message.sender, "--", *safe], file, output)
            output.seek(0)
            words = clean_line(output.read(_OUTPUT_BYTES).decode("utf-8", "replace"), 300)
        if code == 0:
            return [*unsafe, *(RecipientResult(address, accepted=True, code=250, text=f"accepted by {self._name}")
                               for address in safe)]
        if code in _REFUSALS:
            text = f"{_REFUSALS[code]} (exit code {code}{': ' + words if words else ''})"
            return [*unsafe, *(RecipientResult(address, accepted=False, code=550, text=text) for address in safe)]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise MailError(f"the program ended with {how}{': ' + words if words else ''}", where=self._name,
                        fix="run the program in a terminal, or read the log of the program", retry=True)

    @property
    def _name(self) -> str:
        return Path(self._command[0]).name

    def _run(self, arguments: Sequence[str], file: Path, output: IO[bytes]) -> int:
        """Run the program with the message as its standard input; return its exit code."""
        with tempfile.TemporaryFile() as message:  # not a pipe, because a program that does not read its input would block this process
            try:
                with file.open("rb") as source:
                    for line in source:  # sendmail expects LF line ends
                        message.write(line[:-2] + b"\n" if line.endswith(b"\r\n") else line)
                message.seek(0)
            except OSError as error:
                raise MailError(f"the file of the message cannot be read: {error.strerror}", where=str(file),
                                fix="restore the file, or drop the message with `pipeline outbox drop`") from error
            self._process = _start(arguments, self._name, stdin=message, stdout=output, stderr=output)
        try:
            return self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired as error:
            self.abort()
            self._process.wait()
            raise MailError(f"the program did not end within {self._timeout_s:g} s", where=self._name,
                            fix="run the program in a terminal to see what the program waits for", retry=True) from error

    def connect(self) -> None:
        """Check that the program exists and is executable."""
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
        """Do nothing, because no program runs between deliveries."""

    def receipt(self, address: str) -> str:
        return f"{self._command[0]} accepted the message for {address}"


def token_from_command(command: Sequence[str], *, timeout_s: float = TOKEN_TIMEOUT_S) -> str:
    """Run a command and return the access token, which is the first line of the command's output.

    Raises MailError. The text of the error never contains the output of the command.
    """
    name = Path(command[0]).name
    with tempfile.TemporaryFile() as printed:
        process = _start(command, name, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            process.wait()
            raise MailError(f"the command printed no token within {timeout_s:g} s", where=f"mail.token_command: {name}",
                            fix="run the command in a terminal, because the command may wait for a login", retry=True) from error
        printed.seek(0)
        lines = printed.read(_TOKEN_BYTES).decode("utf-8", "replace").split("\n")
    token = lines[0].strip()
    if code != 0 or not token or not token.isascii() or not token.isprintable() or " " in token:
        why = f"the command ended with exit code {code}" if code else "the command printed no token on its first line"
        raise MailError(why, where=f"mail.token_command: {name}", fix="run the command in a terminal, and log in if the command asks for a login",
                        retry=True)
    return token


def _start(arguments: Sequence[str], name: str, *, stdin: int | IO[bytes], stdout: IO[bytes],
           stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(arguments, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)  # noqa: S603  the user's own program, no shell
    except (OSError, ValueError) as error:
        raise _missing(name) from error


def _missing(name: str) -> MailError:
    return MailError("the program does not exist or is not executable", where=name, fix="correct the path in [mail]",
                     retry=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
