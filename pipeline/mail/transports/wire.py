"""A message on the wire of DATA (RFC 5321, 4.5.2): CRLF line ends, dots doubled at the start of lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_LONE = re.compile(rb"\r\n|\r|\n")


def dotted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks ready for DATA, without the final dot; a last line without its end gets one.

    Lone CR and LF become CRLF: a server that takes one of them for the end of a line would otherwise read
    commands out of a body.
    """
    at_start, held = True, b""
    for chunk in chunks:
        data = held + chunk
        held = b"\r" if data.endswith(b"\r") else b""  # its LF may be in the next chunk
        if held:
            data = data[:-1]
        if not data:
            continue
        data = _LONE.sub(b"\r\n", data)
        stuffed = data.replace(b"\n.", b"\n..")
        yield b"." + stuffed if at_start and data.startswith(b".") else stuffed
        at_start = data.endswith(b"\n")
    if held or not at_start:
        yield b"\r\n"
