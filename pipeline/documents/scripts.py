"""Data in script elements: JSON, and JavaScript objects as pages write them."""

from __future__ import annotations

import html
import json
import re

import chompjs

from pipeline.model import Json

MAX_CHARACTERS = 20_000_000
"""Of a script that is not strict JSON."""
MAX_VALUES = 1000
"""Of one script, one after the other."""

# Every pattern here takes time in proportion to the text: a script may be 20 MB of anything.
_FRONT = re.compile(r"(?:[\s\ufeff;]|//[^\n]*(?:\n|$)|/\*.*?\*/|<!--(?:(?!-->)[^\n{]){0,200}+-->|<!--|-->|<!\[CDATA\[)*+", re.DOTALL)
_ASSIGNED = re.compile(r"""
    (?:^|[;\n}{)]) [ \t]* (?:(?:var|let|const|export\s+default)\s+)?
    (?: (?:[\w.$\[\]"']+\s*=(?!=)\s*){1,3}+ | [\w.$\[\]"']+\.push\s*\( | export\s+default )
    \s*+ (?: (?P<object>[{\[]) | JSON\.parse\(\s* (?P<text>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|`(?:[^`\\]|\\.)*+`) \s*\) )
""", re.VERBOSE | re.DOTALL)
_TOKEN = re.compile(r"""
    (?P<string> (?: "(?:[^"\\]|\\.)*+ | '(?:[^'\\]|\\.)*+ | `(?:[^`\\]|\\.)*+ ) (?:["'`]|\\?\Z) )
  | (?P<comment> //[^\n]* | /\*(?:[^*]|\*(?!/))*+(?:\*/|\Z) )
  | (?P<word> (?<![\w$.]) (?:null|true|false|undefined|void\ 0|NaN|!0|!1) (?![\w$]) )
""", re.VERBOSE | re.DOTALL)
_WORDS = {"undefined": " null ", "void 0": " null ", "NaN": " null ", "!0": " true ", "!1": " false "}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|(\r\n|[\n\r\u2028\u2029])|(.))", re.DOTALL)
_KNOWN = frozenset("\"\\/bfnrtu'`")
_DECODER = json.JSONDecoder(strict=False)  # raw line ends and tabs in strings


class UnreadableError(ValueError):
    """A script that looks like data and cannot be read; says where it breaks."""


def script_values(text: str, *, limit: int = MAX_VALUES) -> list[Json]:
    """All values that stand one after the other in a script. Raises UnreadableError when the first cannot be read."""
    found: list[Json] = []
    body = text[_end_of(_FRONT, text):]
    while body and len(found) < limit:
        try:
            value, end = _read(body)
        except UnreadableError:
            if found:
                break
            raise
        if end == 0:
            break
        found.append(value)
        body = body[end:].lstrip(" \t\r\n,;") if limit > 1 else ""
    return found


def _read(body: str) -> tuple[Json, int]:
    """The value at the start of a script, or the first that it assigns, and where it ends; 0 where it is code only."""
    try:
        found, end = _DECODER.raw_decode(body)
        if isinstance(found, (dict, list)) or not body[end:].strip(" \t\r\n;"):
            return found, end
    except (ValueError, RecursionError):
        pass
    if body.startswith(("&quot;", "{&quot;", "[&quot;", "[{&quot;")) or body[:200].lstrip("{[ \r\n\t").startswith("&quot;"):
        found, _ = _read(html.unescape(body).replace("&quot;", "'"))
        return found, len(body)
    if body[0] in "{[":
        return _lenient(body)
    match = _ASSIGNED.search(body)
    if match is None:
        return None, 0
    if match["object"]:
        at = match.start("object")
        try:
            found, end = _DECODER.raw_decode(body, at)
        except (ValueError, RecursionError):
            found, end = _lenient(body[at:])
            end += at
        return found, end
    try:
        return json.loads(json.loads(_as_json_string(match["text"]), strict=False), strict=False), match.end()
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"the text of its JSON.parse: {error}") from error


def _lenient(body: str) -> tuple[Json, int]:
    """A JavaScript object: comments, trailing commas, quotes of any kind or none. Its end is that of the script."""
    if len(body) > MAX_CHARACTERS:
        raise UnreadableError(f"it has {len(body)} characters and is no strict JSON; at most {MAX_CHARACTERS} are read")
    try:
        return chompjs.parse_js_object(_TOKEN.sub(_as_json_token, body), loader=_DECODER.decode), len(body)
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def _as_json_token(match: re.Match[str]) -> str:
    """What chompjs reads wrongly, as JSON: escapes, comments between words, literals before a comma."""
    if match["string"]:
        return _as_json_string(match["string"])
    if match["comment"]:
        return " "
    return _WORDS.get(match["word"], f" {match['word']} ")


def _as_json_string(text: str) -> str:
    """A JavaScript string literal as JSON."""
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


def _end_of(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match is not None else 0
