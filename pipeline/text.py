"""Format text for display: escape or remove characters, mask secrets in URLs, show sizes and times."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

# Sets of characters from which the patterns below are built.
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"  # Unicode category Cc, without tab and newline
_LINE_SEPARATORS = "\u2028\u2029"
_DIRECTION_MARKS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # these characters reorder the text around them (UAX #9)
_HIDDEN = "\u00ad\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # without ZWJ and ZWNJ, which emoji and some scripts need
_NOT_TEXT = "\ud800-\udfff\ufffe\uffff"  # unpaired surrogates and non-characters

_ESCAPED = re.compile(f"[{_CONTROLS}{_LINE_SEPARATORS}{_DIRECTION_MARKS}]")
_ESCAPED_IN_LINE = re.compile(f"[\n{_CONTROLS}{_LINE_SEPARATORS}{_DIRECTION_MARKS}]")
_LINE_END = re.compile(f"\r\n|[\r\n\x85{_LINE_SEPARATORS}]")
_REPLACED = re.compile(f"[{_CONTROLS}{_NOT_TEXT}]")
_REMOVED = re.compile(f"[{_DIRECTION_MARKS}{_HIDDEN}]")
_STACKED = re.compile("([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
"""Combining marks beyond four on one character, which would cover the lines around it."""
_SPACE = re.compile(r"\s+")
_FSI, _PDI = "\u2068", "\u2069"
_ISOLATES = (_FSI, _PDI)
_ISOLATE = re.compile(f"([{_FSI}{_PDI}])")

_MASKED_PARAMETER = r"(?i)([?&;][^=&;#]*(?:token|key|secret|pass|pwd|sig|auth|session|code|otp)[^=&;#]*=)[^&;#]*"
"""Pattern of URL parameters whose names suggest a secret. It is compiled on first use, so that `pipeline --help` starts faster."""
MASK = "•••"

MAX_QUOTED = 500
"""The maximum number of characters of remote text that `quoted` keeps."""


def escape_controls(text: str) -> str:
    r"""Escape control characters and direction marks for a terminal or a log: `\u001b` for ESC.

    Tab and newline are unchanged. The escape sequences are those of JSON, so that a line of JSON remains valid.
    """
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_line(text: str) -> str:
    r"""Escape text for one line of a terminal: `\x1b` for ESC, `\x0a` for a newline. Tab is unchanged."""
    return _ESCAPED_IN_LINE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def quoted(text: str) -> str:
    """Return remote text on one line: escaped, white space collapsed, at most MAX_QUOTED characters."""
    text = escape_line(" ".join(text.split()))
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED - 1] + "…"


def decode_line(line: bytes) -> str:
    r"""Return a line decoded as UTF-8. Bytes that are not valid UTF-8 become escapes such as `\xff`."""
    return line.decode("utf-8", "backslashreplace")


def clean_text(text: str) -> str:
    """Return remote text in a form that is safe in a mail or a file.

    Line ends become newlines, control characters become U+FFFD, and hidden characters, direction marks and combining marks beyond four on
    one character are removed.
    """
    return _STACKED.sub(r"\1", _REMOVED.sub("", _REPLACED.sub("\N{REPLACEMENT CHARACTER}", _LINE_END.sub("\n", text))))


_LONGEST_WORD = 24
"""`clean_excerpt` cuts a word with more characters than this."""


def clean_line(text: str, limit: int = 0) -> str:
    """Return text on one line, cleaned as `clean_text` does, with white space collapsed.

    limit: maximum number of characters; a longer line is cut between two graphemes and ends with an ellipsis. 0 means no limit.
    """
    if limit:
        text = text[:limit * 8 + 200]  # collapsing white space shortens the text, but text far beyond the limit is never shown
    line = _SPACE.sub(" ", clean_text(text)).strip()
    return line if not limit or len(line) <= limit else f"{_beginning(line, limit - 1).rstrip()}…"


def clean_excerpt(text: str, limit: int) -> str:
    """Return text on one line, as `clean_line` does; a longer line is cut between two words, unless its last word is very long."""
    line = clean_line(text, limit)
    cut = line.removesuffix("…")
    if len(cut) == len(line) or not clean_line(text, 2 * limit)[len(cut):][:1].isalnum():
        return line
    end = cut.rfind(" ", max(1, len(cut) - _LONGEST_WORD))
    return f"{cut[:end].rstrip(' ,;:–-')}…" if end > 0 else line


def clean_subject(text: str, limit: int) -> str:
    """Return the subject of a mail on one line, cleaned as `clean_line` does, in which titles remain isolated (see `isolated`).

    Each U+2068 is followed by one U+2069, also where the line is cut. limit: maximum number of characters.
    """
    line, is_open = "", False
    for part in _ISOLATE.split(_SPACE.sub(" ", text)):
        if part not in _ISOLATES:
            line += clean_text(part)
        elif (part == _FSI) is not is_open:
            line, is_open = line + part, not is_open
    line = line.strip()
    if len(line) > limit - is_open:
        line = _beginning(line, limit - 2).rstrip(f" {_FSI}") + "…"
    return line + _PDI if line.count(_FSI) > line.count(_PDI) else line


def _beginning(line: str, length: int) -> str:
    """Return at most `length` characters of the beginning of a line, without cutting through a grapheme (UAX #29)."""
    if line[:length + 1].isascii():
        return line[:length]
    import regex  # noqa: PLC0415  its data takes time to load, and `pipeline --help` never cuts such a line

    end = 0
    for grapheme in regex.finditer(r"\X", line):
        if grapheme.end() > length:
            break
        end = grapheme.end()
    return line[:end]


def direction_of(text: str) -> Literal["ltr", "rtl", ""]:
    """Return the reading direction of a text: that of its first letter; "" if it has no letter (UAX #9, rules P2 and P3)."""
    if text.isascii():
        return "ltr" if any(map(str.isalpha, text)) else ""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in ("L", "R", "AL"):
            return "ltr" if kind == "L" else "rtl"
    return ""


_OPENING = {"auto": "\u2068", "ltr": "\u2066", "rtl": "\u2067"}


def isolated(text: str, direction: Literal["ltr", "rtl", "auto", ""] = "") -> str:
    """Return cleaned text so that it does not reorder the text around it, for example in a subject (UAX #9, isolates).

    direction: in which direction the text itself is read; "auto": in the direction of its first letter; "": the same, but text without
    letters or digits of a script that is read from right to left is returned unchanged.
    """
    if not direction and (text.isascii() or not any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)):
        return text
    return f"{_OPENING[direction or 'auto']}{text}\u2069"


def shown_url(url: str) -> str:
    """Return a URL without user info, without a fragment that is not a route (#/…, #!/…), and with secret-looking parameters masked."""
    try:
        parts = urlsplit(url)
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, parts.fragment if parts.fragment.startswith(("/", "!")) else ""))
    except ValueError:
        return "(invalid URL)"
    return clean_line(re.sub(_MASKED_PARAMETER, rf"\1{MASK}", bare), 200)


def has_secret_parameter(url: str) -> bool:
    """Return whether a URL has a parameter whose name suggests that its value is a secret."""
    return re.search(_MASKED_PARAMETER, url) is not None


def with_texts(value: Any, in_text: Callable[[str], str], in_name: Callable[[str], str]) -> Any:
    """Return JSON data with each text changed by `in_text`, and each name of a member by `in_name`."""
    if isinstance(value, str):
        return in_text(value)
    if isinstance(value, dict):
        return {in_name(name): with_texts(entry, in_text, in_name) for name, entry in value.items()}
    return [with_texts(entry, in_text, in_name) for entry in value] if isinstance(value, (list, tuple)) else value


def counted(number: int, what: str) -> str:
    """Return a number with a noun in the singular or plural, such as "1 spider", "2 spiders" or "3 entries"."""
    if number == 1:
        return f"{number} {what}"
    if what.endswith("y") and what[-2:-1] not in "aeiou":
        return f"{number} {what[:-1]}ies"
    return f"{number} {what}{'es' if what.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def size_for_people(size_bytes: float) -> str:
    """Return a size as text, in decimal units such as 512 B or 3.1 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def span_for_people(seconds: float) -> str:
    """Return a duration as text with at most two units, such as 45 s, 3 min, 2 h 5 min or 3 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole // 60} min"


def stamp(now: datetime, zone: tzinfo) -> str:
    """Return the date and time in `zone`, such as `2026-11-22 23:16:41`."""
    return f"{now.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def iso(moment: datetime, zone: tzinfo | None) -> str:
    """Return the date and time in ISO 8601, such as `2026-11-22T23:16:41+08:00`.

    zone: time zone of the result; None keeps the time zone of `moment`.
    """
    return moment.astimezone(zone).isoformat(timespec="seconds") if zone else moment.isoformat(timespec="seconds")
