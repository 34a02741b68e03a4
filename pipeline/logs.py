"""Log lines: for people on a terminal, as JSON elsewhere; secrets masked, scraped control characters shown."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from pipeline.errors import UsageError
from pipeline.settings import Secret

MASK = "****"
# C0 and C1 controls but tab and newline, and the marks that reorder text (UAX #9).
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text that cannot drive a terminal or forge a line: control and direction characters are escaped."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class Masked(logging.Formatter):
    """Formats as `inner` does, then masks every secret the settings refer to."""

    def __init__(self, inner: logging.Formatter, secrets: Iterable[Secret] = ()) -> None:
        super().__init__()
        self._inner = inner
        self._values = sorted({value for secret in secrets if (value := _revealed(secret))}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return self.mask(self._inner.format(record))

    def mask(self, text: str) -> str:
        """`text` printable and without the secrets, for what was not written through this formatter."""
        text = printable(text)
        for value in self._values:
            text = text.replace(value, MASK)
        return text


def _revealed(secret: Secret) -> str:
    try:
        value = secret.reveal()
    except UsageError:
        return ""  # not there, so it cannot be in a line either
    return value if len(value) >= 4 else ""  # masking "a" would mask half of every line


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, part, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(), "part": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(stream: TextIO = sys.stderr, *, secrets: Iterable[Secret] = (), level: int = logging.INFO) -> None:
    """Send all log lines of this process to `stream`."""
    plain: logging.Formatter = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S") if stream.isatty() \
        else JsonLines()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Masked(plain, secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
