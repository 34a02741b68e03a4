"""Reads data in script elements: JSON, and JavaScript objects as web pages write them."""

from __future__ import annotations

import html
import json
import re

import chompjs

from pipeline.model import Json

MAX_CHARACTERS = 20_000_000
"""The maximum length, in characters, of a value that is not strict JSON. A longer value is not read."""
MAX_VALUES = 1000
"""The maximum number of values read from one script."""

# Each pattern must take linear time, because a script may be 20 MB of arbitrary text.
_BLANKS = r"[\s\ufeff;]|//[^\n]*(?:\n|$)|/\*.*?\*/|<!--(?:(?!-->)[^\n{]){0,200}+-->|<!--|-->|<!\[CDATA\["
_FRONT = re.compile(rf"(?:{_BLANKS})*+", re.DOTALL)
_BETWEEN = re.compile(rf"(?:{_BLANKS}|\]\]>|[,}}\])])*+", re.DOTALL)
_STATEMENT = r"""
    (?:(?:var|let|const|export\s+default)\s+)?
    (?: (?:[\w.$\[\]"']+\s*=(?!=)\s*){1,3}+ | [\w.$\[\]"']+\.push\s*\( | export\s+default )
    \s*+ (?: (?P<object>[{\[]) | JSON\.parse\(\s* (?P<text>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|`(?:[^`\\]|\\.)*+`) \s*\) )
"""
_ASSIGNMENT = re.compile(_STATEMENT, re.VERBOSE | re.DOTALL)
_LATER_ASSIGNMENT = re.compile(r"[;\n}{)] [ \t]*" + _STATEMENT, re.VERBOSE | re.DOTALL)
_OPEN = re.compile(r"[{\[]")
_BRACKET = re.compile(r"""
    "(?:[^"\\]|\\.)*+(?:"|\\?\Z) | '(?:[^'\\]|\\.)*+(?:'|\\?\Z) | `(?:[^`\\]|\\.)*+(?:`|\\?\Z)
  | //[^\n]* | /\*(?:[^*]|\*(?!/))*+(?:\*/|\Z) | (?P<open>[{\[]) | (?P<close>[}\]])
""", re.VERBOSE | re.DOTALL)
_TOKEN = re.compile(r"""
    (?P<string> (?: "(?:[^"\\]|\\.)*+ | '(?:[^'\\]|\\.)*+ | `(?:[^`\\]|\\.)*+ ) (?:["'`]|\\?\Z) )
  | (?P<comment> //[^\n]* | /\*(?:[^*]|\*(?!/))*+(?:\*/|\Z) )
  | (?P<word> (?<![\w$.]) (?:null|true|false|undefined|void\ 0|NaN|!0|!1) (?![\w$]) )
""", re.VERBOSE | re.DOTALL)
_WORDS = {"undefined": " null ", "void 0": " null ", "NaN": " null ", "!0": " true ", "!1": " false "}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|(\r\n|[\n\r\u2028\u2029])|(.))", re.DOTALL)
_KNOWN = frozenset("\"\\/bfnrtu'`")
_DECODER = json.JSONDecoder(strict=False)  # strict=False allows line breaks and tabs in strings


class UnreadableError(ValueError):
    """A script looks like data but cannot be read. The message says where reading failed."""


def script_values(text: str, *, limit: int = MAX_VALUES) -> list[Json]:
    """Return all values in a script; an empty list if the script has no data.

    Raises UnreadableError if the script has data, but no value can be read.
    """
    found, error = scan(text, limit=limit)
    if error is not None and not found:
        raise error
    return found


def scan(text: str, *, limit: int = MAX_VALUES) -> tuple[list[Json], UnreadableError | None]:
    """Return all values in a script, and the error for the first value that cannot be read; None if there is no error.

    The script may consist of values that follow one another, or of statements that assign values to variables.
    """
    at = _end_of(_FRONT, text, 0)
    if text[at:at + 200].lstrip("{[ \r\n\t").startswith("&quot;"):
        return scan(html.unescape(text[at:]).replace("&quot;", "'"), limit=limit)
    if scalar := _scalar(text[at:]):
        return scalar, None
    found: list[Json] = []
    unread: UnreadableError | None = None
    while at < len(text) and len(found) < limit and (place := _next(text, at)):
        start, end = place
        try:
            value, at = (_parsed(text[start:end]), end) if end else _read(text, start, first=not found)
            found.append(value)
        except UnreadableError as error:
            unread = unread or error
            at = end or _end_of_object(text, start)
        at = _end_of(_BETWEEN, text, at)
    if unread is None and found and limit > 1 and (opened := _OPEN.search(text, at)):
        unread = UnreadableError(f"the script has more than {limit} values" if len(found) == limit else
                                 f"unexpected text after {'the first value' if len(found) == 1 else f'the first {len(found)} values'}: "
                                 f"{text[at:opened.end()]!r}"[:200])
    return found, unread


def _scalar(body: str) -> list[Json]:
    """If a script consists of a single number, string, true, false or null, return a list with this value.

    For any other script, return an empty list.
    """
    if body[:1] in "{[":  # also true for an empty script
        return []
    try:
        found, end = _DECODER.raw_decode(body)
    except ValueError:
        return []
    return [] if body[end:].strip(" \t\r\n;") else [found]


def _next(text: str, at: int) -> tuple[int, int] | None:
    """Return the position of the next value in a script; None if there is no further value.

    The position is two numbers: for an object or array, the index of its opening bracket and 0; for a JSON.parse call, the start
    and the end of the string that is parsed.
    """
    if text[at] in "{[":
        return at, 0
    match = _ASSIGNMENT.match(text, at) or _LATER_ASSIGNMENT.search(text, at)
    if match is None:
        return None
    return (match.start("object"), 0) if match["object"] else match.span("text")


def _parsed(literal: str) -> Json:
    try:
        return json.loads(json.loads(_as_json_string(literal), strict=False), strict=False)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"the string argument of JSON.parse is not JSON: {error}") from error


def _read(text: str, start: int, *, first: bool) -> tuple[Json, int]:
    """Return the object at the index `start`, and the index at which it ends.

    The object is read as JSON, or else as JavaScript with comments, trailing commas and any quotes. first: whether this is the
    first value of the text. Only the first value may lack its end, and then extends to the end of the text.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end = _end_of_object(text, start)
    try:
        return _lenient(text[start:end]), end
    except UnreadableError:
        if not first or end == len(text):
            raise
        return _lenient(text[start:]), len(text)


def _end_of_object(text: str, start: int) -> int:
    """Return the index after the end of the object at `start`, or the length of the text if the object has no end."""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth -= 1
            if depth == 0:
                return match.end()
    return len(text)


def _lenient(body: str) -> Json:
    if len(body) > MAX_CHARACTERS:
        raise UnreadableError(f"a value in a script is too long: {len(body)} characters, but a value that is not strict JSON may have at most {MAX_CHARACTERS}")
    try:
        return chompjs.parse_js_object(_TOKEN.sub(_as_json_token, body), loader=_DECODER.decode)
    except RecursionError as error:
        raise UnreadableError("a value is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def _as_json_token(match: re.Match[str]) -> str:
    """Return the JSON text for a token that chompjs misreads: a string with escapes, a comment or a literal."""
    if match["string"]:
        return _as_json_string(match["string"])
    if match["comment"]:
        return " "
    return _WORDS.get(match["word"], f" {match['word']} ")


def _as_json_string(text: str) -> str:
    """Return a JavaScript string literal as a JSON string."""
    inner = text[1:-1]
    if "\\" in inner:
        inner = _ESCAPE.sub(_as_json_escape, inner)
    if text[0] != '"':
        inner = re.sub(r'\\.|"', lambda match: match[0] if match[0] != '"' else '\\"', inner, flags=re.DOTALL)
    return f'"{inner}"'


def _as_json_escape(match: re.Match[str]) -> str:
    if code := match[1] or match[2]:
        return json.dumps(chr(min(int(code, 16), 0x10FFFF)))[1:-1]
    if match[3]:
        return ""
    letter = match[4]
    if letter in "'`":
        return letter
    return match[0] if letter in _KNOWN else json.dumps({"v": "\v", "0": "\0"}.get(letter, letter))[1:-1]


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match is not None else at
