"""The SMTP dialogue for `mail test --debug`, without what must not be seen."""

from __future__ import annotations

import smtplib
from typing import Any, TextIO

from pipeline.text import clean_line

_MASK = "********"


class _Dialogue:
    """Beside smtplib.SMTP: writes each line said to `dialogue`, credentials masked.

    From AUTH on until the server's last word about it, all that is said in either direction is a secret.
    """

    dialogue: TextIO | None = None
    _secret = False

    def putcmd(self, cmd: str, args: str = "") -> None:
        if self.dialogue is not None:
            word, _, rest = f"{cmd} {args}".strip().partition(" ")
            if word.upper() == "AUTH":
                self._secret = True
                line = f"AUTH {rest.split(' ')[0]} {_MASK if ' ' in rest else ''}".rstrip()
            else:
                line = _MASK if self._secret else f"{cmd} {args}"
            self.dialogue.write(f"C: {clean_line(line)}\n")
        super().putcmd(cmd, args)  # type: ignore[misc]  # smtplib.SMTP's

    def getreply(self) -> tuple[int, bytes]:
        code: int
        code, text = super().getreply()  # type: ignore[misc]  # smtplib.SMTP's
        if self.dialogue is not None:
            for line in text.decode("utf-8", "replace").split("\n"):
                self.dialogue.write(f"S: {code} {_MASK if self._secret and code == 334 else clean_line(line)}\n")
            self._secret = self._secret and code == 334
        return code, text


class Plain(_Dialogue, smtplib.SMTP):
    """SMTP, with STARTTLS or without."""

    def __init__(self, *args: Any, dialogue: TextIO | None = None, **kwargs: Any) -> None:
        self.dialogue = dialogue
        super().__init__(*args, **kwargs)


class Tls(_Dialogue, smtplib.SMTP_SSL):
    """SMTP over TLS from the first byte."""

    def __init__(self, *args: Any, dialogue: TextIO | None = None, **kwargs: Any) -> None:
        self.dialogue = dialogue
        super().__init__(*args, **kwargs)
