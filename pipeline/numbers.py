"""Parse numbers as people write them, in any script: 1,234.5, 1.234,5, 1 234,--, 1'234."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

MAX_DIGITS = 400
"""Maximum number of characters of a number; a longer number is ignored. The largest float has 309 digits."""
_ARABIC_POINT = "\u066b"
_SAME = {
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u207b\u208b\u02d7\ufe58\ufe63\uff0d",
    "'": "\u2018\u2019\u201b\u02b9\u02bb\u02bc\u02c8\u2032\u00b4`\uff07\u066c",
    ",": "\u060c\uff0c\ufe50",
    ".": "\u00b7\uff0e\ufe52\u2024",
    "+": "\uff0b\ufe62", "%": "\uff05\ufe6a\u066a", ":": "\uff1a\ufe55", "$": "\uff04\ufe69", "£": "\uffe1", "¥": "\uffe5",
    "=": "\uff1d",
}


class _Plain(dict[int, "int | str | None"]):
    """A table for str.translate that turns the characters of numbers in any script into ASCII.

    Digits, spaces, signs, decimal marks and separators become ASCII characters. Invisible characters are removed.
    """

    def __missing__(self, code: int) -> int | str | None:
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Nd":
            return str(unicodedata.decimal(char))
        if category == "Zs":
            return " "
        return None if category == "Cf" else code


_PLAIN = _Plain({code: code for code in range(128)} | {ord("`"): "'"}
                | {ord(char): plain for plain, chars in _SAME.items() for char in chars})

# A space or an apostrophe separates thousands only before exactly three digits: the first number of "Pack of 3 12,99" is 3.
_FOUND = re.compile(r"""
    (?P<sign>(?<![^\W_])[-+])?
    (?P<digits>
        [1-9]\d{0,2}(?P<group>[ '])\d{3}(?!\d)(?:(?P=group)\d{3}(?!\d))*(?:[.,\u066b]\d+)?
      | \d+(?:[.,\u066b]\d+)*
      | (?<![^\W_])[.,\u066b]\d+(?![.,]?\d)
    )
    (?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹]{2}(?![⁰¹²³⁴⁵⁶⁷⁸⁹]))?
    (?:(?P<end>[.,:])(?:-{1,3}|=)(?!\d) | (?P<exponent>[eE][-+]?\d+)(?![^\W_]))?
""", re.VERBOSE)
_MINUS_BEFORE = re.compile(r"\s*-\s*(?:[A-Z]{0,3}\s*[^\w\s.,()-]?)\s*")
_MAGNITUDE = re.compile(r"""
    (?: (?:[kKMB]|bn|mn|tn) | \ [kM]
      | \ ?(?:thousand|million|millions|billion|billions|trillion|mio|mrd|mill|mln|mld|mlrd|mia|tsd|tausend|mille|mila|mil|tys|tis|
        lakhs?|lacs?|crores?|cr|million[ei]n|millionen|milliarden?|milliards?|millones|milh[õo]es|milioni|miliardi?|
        milyon|milyar|bin|triệu|tỷ|тыс|млн|млрд|тысяч|миллион\w*|миллиард\w*|हज़ार|लाख|करोड़)
    )(?![^\W_]) | \ ?[万萬億亿千만억천]
""", re.VERBOSE | re.IGNORECASE)
LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
"""A table for str.translate that turns superscript digits into ordinary digits."""
_FRACTIONS = {"½": "5", "¼": "25", "¾": "75", "⅕": "2", "⅖": "4", "⅗": "6", "⅘": "8", "⅛": "125", "⅜": "375", "⅝": "625", "⅞": "875", "⅒": "1"}
_FRACTION = re.compile(rf"(?:(?<=\d)\s)?([{''.join(_FRACTIONS)}])")
_CASED = frozenset(["k", "K", "M", "B"])


_SIMPLE = re.compile(r"\s*[£$€]?(\d{1,15})(\.\d{1,2})?\s*", re.ASCII)
"""Matches most English prices. Such a price is unambiguous, so the slower analysis of other numbers can be skipped."""


class NumberError(ValueError):
    """Raised for a number whose exact value is unknown, such as 1.2M. The message quotes the number."""


@dataclass(frozen=True)
class Found:
    """One number found in a plain text.

    digits: the digits, with the decimal mark and the separators between them. start, end: position of the number in the text,
    including its sign and a final dash. negative: whether a minus sign precedes the number. end_mark: the decimal mark before a final
    dash, such as the comma of "1.299,--"; "" without a final dash. abbreviated: the text of an abbreviated number such as "1.2M"; ""
    for any other number. raised: the superscript decimals of a price such as "12⁹⁹"; "" if there are none.
    """

    digits: str
    exponent: str
    negative: bool
    end_mark: str
    start: int
    end: int
    abbreviated: str = ""
    raised: str = ""

    def value(self, decimal: str | None = None, *, three: Literal["decimals", "group"] = "decimals") -> int | float | None:
        """Return the value, or None if the decimal mark and the separators contradict each other.

        Raises NumberError for an abbreviated number such as 1.2M. decimal: the decimal mark; None means that it is detected. three:
        how to read a number such as 1.234, if nothing else decides: the point is a decimal mark ("decimals") or separates the
        thousands ("group").
        """
        if self.abbreviated:
            raise NumberError(f"the number {self.abbreviated!r} is abbreviated, so its exact value is unknown")
        digits = self.digits.replace(" ", "").replace("'", "")
        grouped = len(digits) < len(self.digits)
        end_mark = self.end_mark.replace(":", "")
        if end_mark and end_mark in digits and _is_grouped(digits, ""):  # "1.299.-": one mark has two meanings
            decimal = end_mark = ""
            digits = digits.replace(".", "").replace(",", "")
        mark = decimal or end_mark or _decimal_mark(digits, grouped=grouped, three="decimals" if self.exponent else three)
        if self.exponent and digits.count(",") == 1 and "." not in digits:
            mark = ","
        if self.raised and mark and not decimal:  # "1.299⁹⁹": the raised digits are the decimals, so the point separates thousands
            mark = ""
        if _ARABIC_POINT in digits:
            mark = _ARABIC_POINT
        if not grouped and not _is_grouped(digits, mark):
            return None
        for separator in (".", ",", _ARABIC_POINT):
            digits = digits.replace(separator, "\0" if separator == mark else "")
        digits = digits.replace("\0", ".")
        if self.raised and "." not in digits:
            digits += f".{self.raised}"
        digits = ("-" if self.negative else "") + digits + self.exponent
        try:
            value = int(digits) if digits.lstrip("-").isdigit() else float(digits)
        except ValueError:
            return None
        return value if isfinite(value) else None


def plain(text: str) -> str:
    """Return the text with the digits, spaces, signs, decimal marks and separators of any script in ASCII.

    Invisible characters are removed.
    """
    return text if text.isascii() and "`" not in text else text.translate(_PLAIN)


def with_decimals(text: str) -> str:
    """Return the text with fraction characters replaced by decimals, so that "5½" becomes "5.5"."""
    if text.isascii():
        return text
    return _FRACTION.sub(lambda match: f"{_ARABIC_POINT}{_FRACTIONS[match[1]]}", text)


def find(text: str) -> Iterator[Found]:
    """Yield the numbers in a text that `plain` has converted."""
    for match in _FOUND.finditer(text):
        if len(match[0]) > MAX_DIGITS:
            continue
        before, end = text[:match.start()], match.end()
        short = _MAGNITUDE.match(text, end) if match["end"] is None else None
        abbreviated = match[0] + short[0] if short and _is_meant(short[0], before, match[0]) else ""
        negative = match["sign"] == "-" or (
            match["sign"] is None and len(before) < 20 and bool(_MINUS_BEFORE.fullmatch(before)))
        yield Found(match["digits"], match["exponent"] or "", negative, match["end"] or "", match.start(), end,
                    abbreviated, (match["raised"] or "").translate(LOWERED))


def number(text: str, decimal: str | None = None) -> int | float | None:
    """Return the first number in a text, or None. Raises NumberError for an abbreviated number (1.2M).

    decimal: the decimal mark; None means that the function detects it. A number such as 1,234, with a single mark before exactly three
    digits, is ambiguous: a comma, a space or an apostrophe is taken as the separator of thousands, a point as the decimal mark. There
    are two exceptions: in "1.299,-" the comma before the dash is the decimal mark, and a number that begins with 0 has no thousands.
    """
    simple = _SIMPLE.fullmatch(text)
    if simple is not None and (simple[2] is None or decimal in (None, ".")):
        return int(simple[1]) if simple[2] is None else float(simple[1] + simple[2])
    text = with_decimals(text)
    readable = plain(text)
    found = next(find(readable), None)
    if found is not None and found.raised and not any(unicodedata.category(char) == "Sc" for char in readable):
        found = replace(found, raised="")  # without a currency sign, superscript digits are a footnote or an exponent
    return found.value(decimal) if found is not None else None


def _is_meant(short: str, before: str, digits: str) -> bool:
    """Return whether an abbreviation after a number, such as "m", multiplies the number.

    The m of £1.5m (million) multiplies the number, the m of 1.5 m (metres) does not. short: the abbreviation. before: the text before
    the number. digits: the digits of the number.
    """
    letters = short.strip()
    if len(letters) > 1 or not letters.isascii():
        return True
    if letters == "m":
        return not short.startswith(" ") and unicodedata.category((before.rstrip() or " ")[-1]) == "Sc"
    if short.startswith(" "):  # "38 M" is a size, but "1,5 M" is 1.5 million
        return letters == "k" or (letters == "M" and not digits.isdigit())
    return letters in _CASED


def _is_grouped(digits: str, mark: str) -> bool:
    """Return whether the separators of a number form usual groups, as in 1.234.567 but not in 1.2.3.

    mark: the decimal mark, which is not a separator of groups; "" if the number has no decimal mark.
    """
    whole = digits.partition(mark)[0] if mark else digits
    if "." in whole and "," in whole:
        return False
    first, *groups = re.split("[.,]", whole)
    if not groups:
        return True
    return 0 < len(first) <= 3 and len(groups[-1]) == 3 and (
        all(len(group) == 3 for group in groups) or all(len(group) == 2 for group in groups[:-1]))


def _decimal_mark(digits: str, *, grouped: bool, three: str) -> str:
    """Return the decimal mark of a number, or "" if the number has none.

    grouped: whether spaces or apostrophes separate the thousands. three: how to read a number such as 1.234 (see `Found.value`).
    """
    point, comma = digits.rfind("."), digits.rfind(",")
    if point >= 0 and comma >= 0:
        return "." if point > comma else ","
    mark, place = (".", point) if point >= 0 else (",", comma)
    if place < 0 or digits.count(mark) > 1:
        return ""
    if len(digits) - place != 4 or grouped or place == 0 or place > 3 or digits[0] == "0":
        return mark
    return "." if mark == "." and three == "decimals" else ""
