"""Determines the encoding of a page as browsers do.

The sources are, in this order: a byte order mark, the Content-Type header, a <meta> or XML declaration, detection from the
bytes. Only the labels of the Encoding Standard (https://encoding.spec.whatwg.org, 4.2) are accepted in headers and
declarations. Unlike browsers, this module also supports hz-gb-2312 and iso-2022-kr.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import lru_cache

from charset_normalizer import from_bytes

# The labels of each encoding. The key is Python's name for the encoding, or for the superset of the encoding that browsers use.
_LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859-6":
        "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e "
        "iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859-7":
        "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
        "iso_8859-7:1987 sun_eu_greek",
    "iso8859-8":
        "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 "
        "iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252":
        "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 "
        "iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254":
        "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
        "windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949",
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    "hz": "hz-gb-2312",
    "iso2022_kr": "csiso2022kr iso-2022-kr",
    "x-user-defined": "x-user-defined",
}
_CODECS = {label: name for name, labels in _LABELS.items() for label in labels.split()}
# Python codecs that are not supported: they are no text encodings, do not work, or can encode markup without angle brackets.
_NO_CHARSETS = frozenset({"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "raw_unicode_escape", "undefined",
                          "unicode-escape", "unicode_escape", "utf-7"})
# UTF-32 comes first, because its byte order mark begins with that of UTF-16.
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_ALL_MARKS = tuple(mark for mark, _ in _MARKS)
_SCANNED_BYTES = 4096  # the HTML Standard requires at least 1024
_PARAMETER = re.compile(r';\s*([^\s;="]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,]*)')
_DECLARATION = re.compile(
    rb"<!--.*?(?:-->|$)|<\?xml\s(?P<xml>[^<>]*)|<meta(?=[\s/])(?P<meta>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>", re.IGNORECASE | re.DOTALL)
_ATTRIBUTE = re.compile(r"""([^\s/>"'=]+)\s*(?:=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?""")
_CHARSET_IN_CONTENT = re.compile(r"""charset\s*=\s*["']?\s*([^\s;"']+)""", re.IGNORECASE)
_USER_DEFINED = "x-user-defined"
_GUESSED = ["cp1252", "cp1251", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"]
_OTHER_SCRIPTS = frozenset(("cp1251", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"))
_LOOKED_AT = 65_536
_FEW = 8
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")


def label_codec(label: str) -> str | None:
    """Return the Python codec for a label of the Encoding Standard; None for any other label."""
    return _CODECS.get(label.strip("\t\n\f\r ").lower())


@lru_cache(maxsize=256)
def codec(label: str) -> str | None:
    """Return the Python codec for a label of the Encoding Standard, or for a name that Python knows.

    Return None for any other label, and for codecs that are not text encodings.
    """
    if (known := label_codec(label)) is not None:
        return known
    try:
        name = codecs.lookup(label.strip()).name
        b"a".decode(name, "ignore")  # raises an error for zlib, rot13 and other codecs that are not text encodings
    except (LookupError, ValueError):
        return None
    return None if name in _NO_CHARSETS else _CODECS.get(name, name)


def page_encoding(body: bytes, content_type: str, override: str | None = None) -> str:
    """Return the Python codec for a page.

    content_type: the Content-Type header; override: a label from the settings, used instead of the encoding that the page
    declares, but not instead of a byte order mark.
    """
    return declared_encoding(body, content_type, override) or detected_encoding(body, content_type)


def declared_encoding(body: bytes, content_type: str, override: str | None = None) -> str | None:
    """Return the Python codec that a page declares, or `override` if given; None if the page declares none.

    A byte order mark takes precedence over `override`. content_type: the Content-Type header; override: a label from the
    settings.
    """
    if (found := _marked_encoding(body)) is not None:
        return found
    if override:
        return codec(override) or "utf-8"
    return header_encoding(content_type) or _encoding_in_page(body)


@lru_cache(maxsize=256)
def header_encoding(content_type: str) -> str | None:
    """Return the Python codec for the first charset in a Content-Type header.

    Return None if there is no charset, or if its label is unknown.
    """
    for name, value in _PARAMETER.findall(content_type):
        if name.lower() == "charset":
            return label_codec(value.strip("\"' \t"))
    return None


def detected_encoding(body: bytes, content_type: str) -> str:
    """Detect the encoding of a page from its bytes. As in browsers, windows-1252 is returned for HTML that is pure ASCII."""
    if body.isascii():
        return "cp1252" if "html" in content_type.lower() else "utf-8"
    return guessed(body)


def guessed(body: bytes) -> str:
    """Guess the encoding of a text as browsers do: UTF-8, even with a few invalid bytes, or windows-1252.

    Another encoding is returned only if the text is clearly in another script. Other encodings of the Latin script are never
    returned, because such a guess would differ from page to page.
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    text = body.decode("utf-8", "replace")
    wrong, foreign = text.count("\ufffd"), sum(1 for char in text if char > "\x7f")
    if wrong * 2 <= foreign and wrong <= max(1, foreign // 10):
        return "utf-8"
    runs = _BEYOND_ASCII.findall(body)
    if sum(map(len, runs)) < max(_FEW, 2 * len(runs)):  # single non-ASCII letters between ASCII letters are a sign of a Latin script
        return "cp1252"
    looked_at = body if len(body) <= _LOOKED_AT else body[:_LOOKED_AT].rpartition(b"<")[0] or body[:_LOOKED_AT]
    best = from_bytes(looked_at, cp_isolation=_GUESSED).best()
    name = best.encoding if best is not None else ""
    return codec(name) or "cp1252" if name in _OTHER_SCRIPTS else "cp1252"


def decoded(body: bytes, encoding: str) -> str:
    """Decode text and remove the byte order mark; invalid bytes become U+FFFD. encoding: the Python codec."""
    return body.decode(encoding, "replace").removeprefix("\ufeff")


def _marked_encoding(body: bytes) -> str | None:
    """Return the encoding that the byte order mark of a page means; None if the page has no byte order mark."""
    if not body.startswith(_ALL_MARKS):  # the fast path for nearly all pages
        return None
    return next((name for mark, name in _MARKS if body.startswith(mark)), None)


def _encoding_in_page(body: bytes) -> str | None:
    """Return the encoding in the first <meta> or XML declaration with a known label; None if there is none.

    See the HTML Standard, 13.2.3.2.
    """
    for label in _labels_in_page(body[:_SCANNED_BYTES]):
        if (found := label_codec(label)) is not None:
            # A page whose declaration is readable as ASCII cannot be in UTF-16.
            return "utf-8" if found.startswith("utf-16") else "cp1252" if found == _USER_DEFINED else found
    return None


def _labels_in_page(head: bytes) -> Iterator[str]:
    for match in _DECLARATION.finditer(head):
        written = match["meta"] or match["xml"]
        if not written:
            continue
        attributes: dict[str, str] = {}
        for name, *values in _ATTRIBUTE.findall(written.decode("latin-1")):
            attributes.setdefault(name.lower(), "".join(values))
        if match["xml"]:
            yield attributes.get("encoding", "")
        elif "charset" in attributes:
            yield attributes["charset"]
        elif attributes.get("http-equiv", "").strip().lower() == "content-type" and (
                found := _CHARSET_IN_CONTENT.search(attributes.get("content", ""))):
            yield found[1]


def _user_defined(name: str) -> codecs.CodecInfo | None:
    """Return the codec for x-user-defined (Encoding Standard, 14.5), which Python does not have."""
    if name not in (_USER_DEFINED, "x_user_defined"):
        return None
    table = "".join(map(chr, [*range(0x80), *range(0xF780, 0xF800)]))
    encoding = codecs.charmap_build(table)
    return codecs.CodecInfo(lambda text, errors="strict": codecs.charmap_encode(text, errors, encoding),
                            lambda data, errors="strict": codecs.charmap_decode(data, errors, table), name=_USER_DEFINED)


codecs.register(_user_defined)
