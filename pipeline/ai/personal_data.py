"""Replace personal data in texts: e-mail addresses, phone, account and card numbers, own patterns.

What looks like personal data is replaced when in doubt: a summary can do without a number, and a number that has left the machine cannot be
taken back. Account and card numbers have check digits (ISO 7064 mod 97-10, Luhn), so that other numbers of their length stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import regex

from pipeline.settings.models.ai import PersonalData

HIDDEN = "[hidden]"
TIME_LIMIT_S = 0.25
"""The time limit for one pattern on one text, in seconds. A text on which a pattern takes longer is replaced as a whole."""

_AT = (r"(?:@|＠|&\#0*64;|&\#x0*40;|&commat;|%40|\s?[(\[{<]\s?[-_*]?(?:at|ät|@)[-_*]?\s?[)\]}>]\s?|\s(?:at|ät)\s(?=[\p{L}\p{N}-]{1,63}\s(?:dot|punkt|point)\s)"
       r"|[ ]?[@＠][ ](?=[\p{L}\p{N}-]{1,63}[ ]?\.[ ]?\p{L}{2})|[ ][@＠](?=[\p{L}\p{N}-]{1,63}\.\p{L}{2}))")
_DOT = r"(?:\.|&\#0*46;|&\#x0*2e;|&period;|\s?[(\[{<]\s?[-_*]?(?:dot|punkt|point|\.)[-_*]?\s?[)\]}>]\s?|\s(?:dot|punkt|point)\s)"
_EMAIL = regex.compile(rf"(?:[\p{{L}}\p{{N}}.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}|\"[^\"\n]{{1,64}}\"){_AT}[\p{{L}}\p{{N}}-]{{1,63}}(?:{_DOT}[\p{{L}}\p{{N}}-]{{1,63}})*+", regex.IGNORECASE)

_ANY_AT = regex.compile(r"[@＠]|&\#0*64;|&\#x0*40;|&commat;|%40|[(\[{<]\s?[-_*]?(?:at|ät)[-_*]?\s?[)\]}>]|\s(?:at|ät)\s", regex.IGNORECASE)
"""Matches what every address has, and is many times as fast as the search for whole addresses."""

_LETTER = r"\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}"
"""Letters of scripts with spaces between words. In others, a number may follow a letter directly."""
_START = rf"(?<![{_LETTER}\p{{N}}])"
_NEW_NUMBER = r"(?<!\p{N}|\p{N}[.,/:-]|-)"
_END = r"(?!\p{N}|[.,]\p{N})"
_GAP = r"[ \t\u00a0\u2009\u202f.\-‐‑–/]"
_WIDE_GAP = r"[ ][.\-/][ ]"
"""A slash or dash between spaces: 030 / 123456."""
_IBAN_START = regex.compile(r"(?<![\p{Latin}\p{N}])[A-Za-z]{2}\d{2}(?=[\p{N}A-Za-z \u00a0\u202f-])")
_IBAN_GAPS = " \u00a0\u202f-"
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22,
    "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22,
    "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30,
    "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
    "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30}
"""The length of the IBAN of each country (SWIFT, IBAN Registry)."""

_CARD = regex.compile(r"(?<![\p{N}.,])(?:\d[ \u00a0\u202f.\-]?){13,18}\d(?![\p{N}])")
_CARD_KINDS = regex.compile(r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11,16}|"
                            r"35\d{14}|6\d{15,18}|5[0678]\d{14,17}")
"""The issuers' prefixes with the lengths of their numbers: Visa, Mastercard, American Express, Diners, JCB, Discover, UnionPay, Maestro."""

_LABEL = (rf"(?:{_START}(?:tele(?:phone|fon|foon|fono|fone|fax)|tel|tél|phone|fon|fone|mobile?|mobil|handy|cell|fax|whatsapp|signal|call|hotline|ruf|тел(?:ефон)?"
          rf"|факс|моб|هاتف|טלפון)(?![{_LETTER}])|电话|電話|手机|手機|传真|傳真|携帯|ファックス|전화|☎|📞|📱)\s*(?:no|nr|number|nummer|号码|番号)?\.?\s*[:：.]?\s*")
_PHONES = tuple(regex.compile(pattern, regex.IGNORECASE) for pattern in (
    # With the number of the country: +49 (0)30 123456-78, 0049 30 123456, +1-212-555-0123, +33123456789
    rf"{_START}(?:[+＋]|00){_GAP}?[(]?\d{{1,3}}[)]?(?:(?:{_WIDE_GAP}|{_GAP}{{0,2}})[(]?\d{{1,8}}[)]?){{2,8}}(?!\d)",
    rf"{_START}[+＋]\d{{8,15}}(?!\d)",
    # After a word for it
    rf"{_LABEL}[+＋]?[(]?\d(?:[)]?(?:{_WIDE_GAP}|{_GAP}{{0,2}})[()]?\d){{4,14}}[)]?(?!\d)",
    # With the 0 of the long-distance number: 030 123456, (030) 12 34 56-78, 0171/1234567, 01 23 45 67 89, 03-1234-5678, 010-12345678
    rf"{_NEW_NUMBER}[(]?0\d{{1,5}}[)]?(?:(?:{_WIDE_GAP}|{_GAP}{{1,2}})\d{{2,9}}){{1,5}}(?!\p{{N}})(?!{_GAP}\d{{1,2}}:\d)",
    rf"{_START}{_NEW_NUMBER}0[1-9]\d{{8,10}}{_END}(?![{_LETTER}])",
    rf"{_NEW_NUMBER}[(]0\d{{1,5}}[)]\d{{3,9}}(?:{_GAP}{{1,2}}\d{{2,9}}){{0,4}}(?!\p{{N}})",
    # Ten digits in three groups (North America): (212) 555-0123, 212-555-0123, 1-800-555-0199, 212.555.0123
    rf"{_NEW_NUMBER}(?:1[ .-])?(?:[(][2-9]\d{{2}}[)][ ]?|[2-9]\d{{2}}(?:{_WIDE_GAP}|[ .-]))\d{{3}}(?:{_WIDE_GAP}|[ .-])\d{{4}}(?!\p{{N}})",
    # China: 13812345678, 138 1234 5678
    rf"{_START}{_NEW_NUMBER}1[3-9]\d[ .-]?\d{{4}}[ .-]?\d{{4}}{_END}",
    # Russia: 8 (495) 123-45-67
    rf"{_NEW_NUMBER}8[ -]?[(]?\d{{3,4}}[)]?[ -]?\d{{2,3}}-\d{{2}}-\d{{2}}(?!\p{{N}})",
    # Brazil: (11) 91234-5678
    rf"{_NEW_NUMBER}[(]?\d{{2}}[)]?[ ]9?\d{{4}}-\d{{4}}(?!\p{{N}})",
    # India: 98765 43210; Spain and others: 612 34 56 78; Denmark and Norway: 12 34 56 78; Poland: 601-234-567
    rf"{_NEW_NUMBER}(?<!\p{{N}} )[6-9]\d{{4}}[ -]\d{{5}}(?!\p{{N}})",
    rf"{_NEW_NUMBER}(?<!\p{{N}} )[6-9]\d{{2}}[ ]\d{{2}}[ ]\d{{2}}[ ]\d{{2}}(?!\p{{N}})",
    rf"{_NEW_NUMBER}(?<!\p{{N}} )[2-9]\d[ ]\d{{2}}[ ]\d{{2}}[ ]\d{{2}}(?![ ]?\p{{N}})",
    rf"{_NEW_NUMBER}\d{{3}}-\d{{3}}-\d{{3}}(?![\p{{N}}-])",
))
_DATE = regex.compile(r"(?:\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})|\d{4}[./-]\d{1,2}[./-]\d{1,2})(?![\d./-])")
_FEWEST_DIGITS, _MOST_DIGITS = 5, 15
_PLAIN = str.maketrans({
    **dict.fromkeys("\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u058a\u05be\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00b7\u2022\u2024\uff0e\ufe52\u30fb", "."), **dict.fromkeys("\uff20\ufe6b", "@"), **dict.fromkeys("\uff08\ufe59", "("),
    **dict.fromkeys("\uff09\ufe5a", ")"), **dict.fromkeys("\uff0b\ufe62", "+"), "\uff0f": "/", "\uff1a": ":", "\uff3b": "[", "\uff3d": "]",
    **{chr(zero + digit): str(digit) for zero in (0xff10, 0x0660, 0x06f0, 0x0966, 0x09e6, 0x0e50, *range(0x1d7ce, 0x1d800, 10)) for digit in range(10)}})
"""Digits of other scripts, and spaces, dashes and other characters between the parts of numbers and addresses, as the patterns have them."""


class PersonalDataMask:
    """Replaces personal data in a text with [hidden]. kinds: which personal data. patterns: regular expressions of further text."""

    def __init__(self, kinds: Iterable[PersonalData], patterns: Iterable[str] = ()) -> None:
        steps: dict[PersonalData, Callable[[str], str]] = {"email": _without_addresses, "iban": _without_accounts, "card": _without_cards, "phone": _without_phones}
        chosen = set(kinds)
        self._steps = [step for kind, step in steps.items() if kind in chosen]
        self._patterns = [regex.compile(pattern) for pattern in patterns]

    def __call__(self, text: str) -> str:
        """Return the text without personal data; [hidden] for a text that takes too long."""
        try:
            for pattern in self._patterns:
                text = pattern.sub(HIDDEN, text, timeout=TIME_LIMIT_S)
            plain = text.translate(_PLAIN)
            masked = plain
            for step in self._steps:
                masked = step(masked)
        except TimeoutError:
            return HIDDEN
        return masked if masked != plain else text


def _without_addresses(text: str) -> str:
    return _EMAIL.sub(HIDDEN, text, timeout=TIME_LIMIT_S) if _ANY_AT.search(text) is not None else text


def _without_phones(text: str) -> str:
    for pattern in _PHONES:
        text = pattern.sub(_phone_hidden, text, timeout=TIME_LIMIT_S)
    return text


def _phone_hidden(found: regex.Match[str]) -> str:
    """Return what replaces a possible phone number: the text itself if it is a date or has too few or too many digits."""
    text = found[0]
    digits = sum(map(str.isdecimal, text))
    if not _FEWEST_DIGITS <= digits <= _MOST_DIGITS or _DATE.match(text.lstrip("(")):
        return text
    fewest = 8 if text[0] in "+＋" else 9 if text.lstrip("(")[0] == "0" else 0
    return text if digits < fewest else HIDDEN


def _without_cards(text: str) -> str:
    return _CARD.sub(lambda found: HIDDEN if _is_card(found[0]) else found[0], text, timeout=TIME_LIMIT_S)


def _is_card(text: str) -> bool:
    number = "".join(str(int(each)) for each in text if each.isdecimal())
    return _CARD_KINDS.fullmatch(number) is not None and _luhn(number)


def _luhn(number: str) -> bool:
    """Return whether the last digit is right (ISO/IEC 7812-1, annex B)."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number)))
    return sum(each - 9 if each > 9 else each for each in doubled) % 10 == 0


def _without_accounts(text: str) -> str:
    parts: list[str] = []
    done = 0
    for start in _IBAN_START.finditer(text, timeout=TIME_LIMIT_S):
        if start.start() >= done and (end := _end_of_iban(text, start.start())):
            parts += [text[done:start.start()], HIDDEN]
            done = end
    return "".join([*parts, text[done:]])


def _end_of_iban(text: str, start: int) -> int:
    """Return where an IBAN that begins at `start` ends; 0 if there is none."""
    length = _IBAN_LENGTHS.get(text[start:start + 2].upper())
    if length is None:
        return 0
    number, end, gap = "", start, False
    while end < len(text) and len(number) < length:
        character = text[end]
        if character.isascii() and character.isalnum():
            number, gap = number + character.upper(), False
        elif character in _IBAN_GAPS and not gap:
            gap = True
        else:
            return 0
        end += 1
    is_whole = len(number) == length and not (end < len(text) and text[end].isascii() and text[end].isalnum())
    return end if is_whole and int("".join(str(int(each, 36)) for each in number[4:] + number[:4])) % 97 == 1 else 0
