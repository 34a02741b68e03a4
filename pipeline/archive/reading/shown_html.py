"""Shows an archived page so that it runs and loads nothing: without scripts, addresses and forms.

Whoever serves this HTML also forbids all of it by a Content-Security-Policy. Preconnections and DNS look-ahead, which no such policy stops,
are the reason why the elements are removed as well. No tree is built: parsers of HTML take quadratic time for deeply nested elements. Each "<"
of the result belongs to a tag that was written here, so that it does not matter where a browser reads the page differently.
"""

from __future__ import annotations

import codecs
import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MAX_CHARACTERS = 2 * 2**20
"""How much of a page is shown. The record itself is offered as a whole."""
POLICY = ("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'; "
          "frame-ancestors 'self'")
"""The Content-Security-Policy with which an archived page is served."""

_TAG = re.compile(r"""<(?:!--.*?(?:--!?>|\Z)|(?P<end>/?)(?P<name>[A-Za-z][^\s/><"']*+)(?P<rest>(?:"[^"]*+"|'[^']*+'|[^<>"'])*+)>|[!?/][^<>]*+>?)""", re.DOTALL)
_ATTRIBUTE = re.compile(r"""([^\s=/>"'<]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'<>]++)))?+""")
_RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style", "iframe", "noembed", "noframes", "xmp")}
"""Elements whose content is no markup, with what ends it (WHATWG HTML, 13.2.6)."""
_UNSEEN = _RAW | {"title": re.compile(r"</title(?=[\s/>])", re.IGNORECASE)}
_INLINE = frozenset(("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd", "label", "mark", "q", "ruby", "s", "samp",
                     "small", "span", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "img", "input", "svg", "path"))
_KINDS = {"script": "scripts", "iframe": "frames", "frame": "frames", "object": "frames", "embed": "frames", "applet": "frames", "portal": "frames",
          "fencedframe": "frames", "video": "pictures", "audio": "pictures"} | dict.fromkeys(
    ("base", "meta", "link", "source", "track", "param", "frameset", "plaintext", "noembed", "noframes", "xmp", "animate", "set"), "")
"""The elements that are removed, and as what they are counted."""
_ADDRESSES = frozenset({"href", "xlink:href", "src", "srcset", "imagesrcset", "action", "formaction", "ping", "poster", "background", "data", "cite", "longdesc",
                        "manifest", "srcdoc", "codebase", "archive", "profile", "target", "autofocus", "nonce", "lowsrc", "dynsrc", "classid"})
_IMAGE_DATA = re.compile(r"\s*+data:image/(?:png|jpeg|gif|webp|avif|bmp|x-icon|vnd\.microsoft\.icon)[;,]", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{2,40})", re.IGNORECASE)
_HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_:-]{2,40})", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_SEARCHED_BYTES = 4096
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LIKE_BROWSERS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-9": "cp1254"}
"""Browsers read these encodings as larger ones that contain them (WHATWG Encoding, 4.2)."""
_ENCODINGS = re.compile(r"utf-8|utf-16(?:-le|-be)?|cp\d{3,4}|iso8859-\d+|koi8-[ru]|gb18030|big5(?:hkscs)?|euc_jp|iso2022_jp|mac-(?:roman|cyrillic)")
_LONGEST_TITLE = 2000


@dataclass(frozen=True)
class ShownHtml:
    """HTML that loads nothing. left_out: how many scripts, styles, pictures and frames the page has that are not shown. is_cut: whether its end is missing."""

    html: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    is_cut: bool = False


def text_of(body: bytes, content_type: str) -> str:
    """Return the text of a body, decoded as a browser does: by its byte order mark, the header, its <meta>, or else as UTF-8 or Windows-1252."""
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body.decode(encoding, "replace")
    named = _HEADER_CHARSET.search(content_type)
    if named is not None and (encoding := _known(named[1])):
        return body.decode(encoding, "replace")
    in_page = _CHARSET.search(body[:_SEARCHED_BYTES])
    if in_page is not None and (encoding := _known(in_page[1].decode("ascii"))):
        return body.decode("utf-8" if encoding.startswith("utf-16") else encoding, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _known(name: str) -> str:
    """Return the codec of an encoding that browsers know; "" for any other: some of Python's codecs decompress."""
    try:
        found = codecs.lookup(name).name
    except LookupError:
        return ""
    found = _LIKE_BROWSERS.get(found, found)
    return found if _ENCODINGS.fullmatch(found) else ""


def shown_html(text: str) -> ShownHtml:
    """Return the HTML of a page without everything that would run, be loaded or be sent."""
    is_cut = len(text) > MAX_CHARACTERS
    left_out: Counter[str] = Counter()
    shown = "".join(_pieces(text[:MAX_CHARACTERS], left_out))
    return ShownHtml(f"<!doctype html>{shown}", dict(left_out), is_cut)


def visible_text(text: str) -> str:
    """Return the text of a page without tags, scripts and styles, each block on lines of its own."""
    found: list[str] = []
    text, at = text[:MAX_CHARACTERS], 0
    while (tag := _TAG.search(text, at)) is not None:
        found.append(_SPACE.sub(" ", html.unescape(text[at:tag.start()])))
        at = tag.end()
        name = (tag["name"] or "").lower()
        if name and name not in _INLINE:
            found.append("\n")
        if name in _UNSEEN and not tag["end"]:
            end = _UNSEEN[name].search(text, at)
            at = end.start() if end else len(text)
    found.append(_SPACE.sub(" ", html.unescape(text[at:])))
    return "\n".join(line for line in (" ".join(each.split()) for each in "".join(found).split("\n")) if line)


def _pieces(text: str, left_out: Counter[str]) -> Iterator[str]:
    at = 0
    while (tag := _TAG.search(text, at)) is not None:
        yield _escaped(text[at:tag.start()])
        at = tag.end()
        name = (tag["name"] or "").lower()
        if not name:  # a comment, a doctype or a processing instruction
            continue
        if not tag["end"]:
            yield _start_tag(name, tag["rest"], left_out)
        elif name not in _KINDS:
            yield f"</{name}>"
        if name in _RAW and not tag["end"]:
            end = _RAW[name].search(text, at)
            content, at = text[at:end.start() if end else len(text)], end.start() if end else len(text)
            yield content.replace("<", "\\3c ") if name == "style" else ""
    yield _escaped(text[at:])


def _start_tag(name: str, rest: str, left_out: Counter[str]) -> str:
    attributes = _attributes(rest)
    if name in _KINDS:
        kind = _KINDS[name]
        if name == "link" and "stylesheet" in attributes.get("rel", "").lower().split():
            kind = "styles"
        if kind and not (name == "script" and _is_data(attributes.get("type", ""))):
            left_out[kind] += 1
        return ""
    end = "/>" if rest.endswith("/") else ">"  # in SVG, an element can end with its start tag
    if not attributes:
        return f"<{name}{end}"
    kept = {key: value for key, value in attributes.items() if _is_harmless(name, key, value)}
    if name in ("img", "image") and "src" in attributes and "src" not in kept:
        left_out["pictures"] += 1
    if "href" in attributes and "href" not in kept and "title" not in kept and name in ("a", "area"):
        kept["title"] = attributes["href"][:_LONGEST_TITLE]  # what browsers show over a link
    written = "".join(f' {key}="{_escaped(value)}"' for key, value in kept.items())
    return f"<{name}{written}{end}"


def _attributes(rest: str) -> dict[str, str]:
    """Return the attributes of a tag as they are written. Of several with one name, browsers use the first."""
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(rest) if rest else ():
        found.setdefault(name.lower(), double or single or bare)
    return found


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if name.startswith("on"):
        return False
    if name not in _ADDRESSES:
        return True
    return (name in ("href", "xlink:href") and value.lstrip().startswith("#")) or (name == "src" and tag in ("img", "image") and bool(_IMAGE_DATA.match(value)))


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace('"', "&quot;")


def _is_data(kind: str) -> bool:
    """Return whether a <script> of this type contains data, which no browser runs."""
    return bool(kind) and kind.lower() != "module" and not kind.lower().endswith(("javascript", "ecmascript"))
