"""Read prices as sites write them: the amount and the currency in a text, or in data such as JSON-LD."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from price_parser import Price

from pipeline.crawl.extract import minor_units
from pipeline.documents.document import Document
from pipeline.documents.regexes import RuleFailedError
from pipeline.model import Json
from pipeline.numbers import LOWERED, Found, find, plain, with_decimals
from pipeline.price import price

LONGEST = 1000
"""The maximum number of characters of a text that are searched for a price."""

ISO_4217 = frozenset("""
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLF CLP CNY COP CRC
CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK
JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN
NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC
SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG""".split())  # noqa: SIM905  a list would fill a page
_THREE_DECIMALS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])

# Signs and words with a single meaning.
_SIGNS = {
    "€": "EUR", "euro": "EUR", "euros": "EUR", "eur": "EUR", "Euro": "EUR", "Euros": "EUR", "EURO": "EUR", "Eur": "EUR", "₩": "KRW", "원": "KRW", "円": "JPY", "₹": "INR", "₽": "RUB",
    "руб": "RUB", "руб.": "RUB", "р.": "RUB", "₴": "UAH", "грн": "UAH", "грн.": "UAH", "₺": "TRY", "TL": "TRY", "₫": "VND", "đ": "VND",
    "฿": "THB", "₪": "ILS", "NIS": "ILS", "₱": "PHP", "₦": "NGN", "₡": "CRC", "₲": "PYG", "₸": "KZT", "₮": "MNT", "₾": "GEL",
    "֏": "AMD", "₼": "AZN", "៛": "KHR", "₭": "LAK", "৳": "BDT", "zł": "PLN", "Zł": "PLN", "ZŁ": "PLN", "zl": "PLN", "Kč": "CZK",
    "kč": "CZK", "Kc": "CZK", "Ft": "HUF", "lei": "RON", "Lei": "RON", "LEI": "RON", "leu": "RON", "лв": "BGN", "лв.": "BGN",
    "рублей": "RUB", "рубля": "RUB", "рубль": "RUB", "гривень": "UAH", "гривні": "UAH", "гривня": "UAH", "złotych": "PLN", "złote": "PLN",
    "złoty": "PLN", "korun": "CZK", "koruny": "CZK", "pounds": "GBP", "Franken": "CHF", "reais": "BRL", "GH¢": "GHS", "GH₵": "GHS", "₵": "GHS",
    "Mex$": "MXN", "MEX$": "MXN", "TT$": "TTD", "J$": "JMD", "N$": "NAD", "EC$": "XCD", "B$": "BND", "BZ$": "BZD", "FJ$": "FJD", "Bds$": "BBD",
    "$U": "UYU", "US-$": "USD", "US-Dollar": "USD", "$ CA": "CAD", "$CA": "CAD", "$ US": "USD", "$US": "USD", "E£": "EGP", "L£": "LBP",
    "KSh": "KES", "Ksh": "KES", "KSh.": "KES", "Ksh.": "KES", "KES.": "KES", "TSh": "TZS", "USh": "UGX", "B/.": "PAB", "Lek": "ALL", "Lekë": "ALL",
    "VNĐ": "VND", "vnđ": "VND", "บาท": "THB", "сум": "UZS", "сом": "KGS", "тг": "KZT", "тенге": "KZT",
    "ден": "MKD", "ден.": "MKD", "дин": "RSD", "дин.": "RSD", "din": "RSD", "din.": "RSD", "Rp": "IDR", "RM": "MYR", "S/": "PEN",
    "S/.": "PEN", "R$": "BRL", "US$": "USD", "U$S": "USD", "AU$": "AUD", "A$": "AUD", "CA$": "CAD", "C$": "CAD", "NZ$": "NZD",
    "HK$": "HKD", "NT$": "TWD", "S$": "SGD", "MX$": "MXN", "AR$": "ARS", "CL$": "CLP", "CO$": "COP", "RD$": "DOP", "CN¥": "CNY",
    "JP¥": "JPY", "RMB": "CNY", "Fr.": "CHF", "SFr.": "CHF", "SFr": "CHF", "sFr.": "CHF", "د.إ": "AED", "ر.س": "SAR", "د.ك": "KWD",
    "ج.م": "EGP", "KD": "KWD", "usd": "USD", "gbp": "GBP", "chf": "CHF", "pln": "PLN", "sek": "SEK", "nok": "NOK", "dkk": "DKK",
}
# Signs with several meanings. For each sign, a key is a country (from the page's lang attribute or domain) or a language; "" is the key
# of the default.
_DOLLARS = {"US": "USD", "CA": "CAD", "AU": "AUD", "NZ": "NZD", "MX": "MXN", "AR": "ARS", "CL": "CLP", "CO": "COP", "SG": "SGD",
            "HK": "HKD", "TW": "TWD", "UY": "UYU", "DO": "DOP", "JM": "JMD", "": "USD"}
_KRONER = {"SE": "SEK", "NO": "NOK", "DK": "DKK", "IS": "ISK", "FO": "DKK", "sv": "SEK", "nb": "NOK", "nn": "NOK", "no": "NOK",
           "da": "DKK", "is": "ISK", "fo": "DKK"}
_RUPEES = {"IN": "INR", "PK": "PKR", "LK": "LKR", "NP": "NPR", "MU": "MUR", "hi": "INR", "ta": "INR", "te": "INR", "mr": "INR",
           "gu": "INR", "ml": "INR", "ur": "PKR", "si": "LKR", "ne": "NPR"}
_DIRHAMS = {"AE": "AED", "MA": "MAD", "": ""}
_SEVERAL = {
    "$": _DOLLARS, "dollars": _DOLLARS, "dollar": _DOLLARS, "Dollar": _DOLLARS, "Dollars": _DOLLARS, "R": {"ZA": "ZAR", "": ""},
    "Dh": _DIRHAMS, "DH": _DIRHAMS, "Dhs": _DIRHAMS, "Dhs.": _DIRHAMS, "kronor": _KRONER, "kroner": _KRONER, "rupees": _RUPEES, "francs": {"CH": "CHF", "": ""}, "kr": _KRONER, "kr.": _KRONER, "Kr": _KRONER, "Kr.": _KRONER, "KR": _KRONER, ":-": {"": "SEK"}, "Rs": _RUPEES,
    "Rs.": _RUPEES, "₨": _RUPEES, "¥": {"CN": "CNY", "zh": "CNY", "": "JPY"}, "元": {"TW": "TWD", "HK": "HKD", "": "CNY"},
    "圓": {"HK": "HKD", "": "TWD"}, "£": {"EG": "EGP", "LB": "LBP", "SY": "SYP", "": "GBP"}}


def _alternatives(signs: list[str]) -> str:
    """Return a pattern that matches any of the signs.

    A sign that begins or ends with a letter matches only if no other letter is next to that letter.
    """
    written = []
    for sign in sorted(signs, key=len, reverse=True):
        start = r"(?<![^\W\d_])" if sign[0].isalpha() else ""
        written.append(start + re.escape(sign) + (r"(?![^\W\d_])" if sign[-1].isalpha() else ""))
    return "|".join(written)


def _is_strong(sign: str) -> bool:
    return any(unicodedata.category(char) == "Sc" for char in sign)


# Currency symbols and ISO codes are searched first; words such as "Ft" and "din" only if the text has no symbol or code.
_ALL = [*_SIGNS, *_SEVERAL]
_STRONG = _alternatives([*(sign for sign in _ALL if _is_strong(sign)), *ISO_4217])
_WEAK = _alternatives([sign for sign in _ALL if not _is_strong(sign)])
_MINOR = _alternatives([sign for sign in minor_units.MEANINGS if sign not in minor_units.ONLY_AFTER_WHOLE])
_NO_BLANK = "|".join(rf"{sign}\b" for sign in minor_units.TOUCHING)
_TOUCHING = [*((re.compile(rf"({signs})[\s:.]{{0,2}}-?\s?$"), re.compile(rf"\s{{0,2}}({signs})")) for signs in (_STRONG, _WEAK)),
             (re.compile(r"(?<!\w)(¢|￠)\s?$"), re.compile(rf"(?:\s{{0,2}}(?!{_NO_BLANK}))?({_MINOR})"))]
_RATE = re.compile(r"\s?(?:/|per\b|pro\b|je\b)\s?\d*\s?(?:kg|g|mg|l|L|ml|cl|m|m2|m²|oz|lb|lbs|litre|liter|Liter|pint|кг|л|г)\b")
_NAMED = re.compile(r"(?<![^\W\d_])([A-Z]{2,3})[\s-]{0,2}$")
_CENTS = re.compile(r"\s*€\s*(\d\d|[⁰¹²³⁴⁵⁶⁷⁸⁹]{2})(?!\d)(?=\s*$|\s*[^\w\s])|:(\d\d)(?!\d)(?=\s*(?:kr|SEK))")
_PARTED = re.compile(r"(?<=\d[.,])(\s)(?=\d\d(?!\d))")
_RANGE = re.compile(r"\s*(?:-|to|bis|à|до|~)\s*|:")
_DASH = re.compile(r"\s*[-\u2010-\u2015]\s")
_DATE = re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}")
_MEASURE = re.compile(r"\s?(?:ft|kg|cm|mm|ml|oz|lbs?|(?<=\d)p)\b")
_PERCENT = re.compile(r"\s?%")
_FREE = re.compile(r"\W*(?:for\s+)?(?:free|gratis|kostenlos|gratuit|gratuito|бесплатно|無料|免费)\W*", re.IGNORECASE)
_DECLARED = re.compile(r"""(?:["']priceCurrency["']\s*:\s*["']|(?:priceCurrency|price:currency)["']?\s+content\s*=\s*["']?)([A-Z]{3})\b""")
_LANGUAGE = re.compile(r"<html\b[^>]{0,500}?\slang\s*=\s*[\"']?([A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_]([A-Za-z]{2}))?", re.IGNORECASE)
_MACHINE = re.compile(r"[-+]?\d+(?:\.\d+)?")
_AMOUNTS = ("price", "lowPrice", "amount", "value")
_CURRENCIES = ("priceCurrency", "currency", "currencyCode")


def read_price(text: str, document: Document, *, decimal: str | None = None, currency: str | None = None) -> Json:
    """Return the price in a text as JSON data. The module pipeline.price describes the form of the data.

    Return None if the text has no price. Raise NumberError for an abbreviated price such as $1.2M. decimal: the decimal
    separator; None means that the separator is guessed. currency: the currency to use if the price has no currency sign, or a
    sign that several currencies share.
    """
    if (decimals := with_decimals(text)) != text:
        read = read_price(decimals, document, decimal=decimal, currency=currency)
        return read | {"text": _line(text[:LONGEST])} if read is not None else None
    written = "".join(char for char in text[:LONGEST] if char.isascii() or unicodedata.category(char) != "Cf")
    readable = plain(written)
    for blank in reversed([match.start(1) for match in _PARTED.finditer(readable)]):  # "118, 99 TL"
        readable, written = readable[:blank] + readable[blank + 1:], written[:blank] + written[blank + 1:]
    chosen = _chosen(readable)
    if chosen is None:
        return price(0, currency, _line(written)) if _FREE.fullmatch(readable) else None
    found, sign, start, end = chosen
    code = _currency(sign or Price.fromstring(readable).currency or "", document, currency)
    amount = found.value(decimal, three="decimals" if code in _THREE_DECIMALS else "group")
    cents = _CENTS.match(readable, found.end) if readable.count("€") < 2 else None
    if amount is not None and cents is not None and isinstance(amount, int):
        amount += (-1 if found.negative else 1) * int((cents[1] or cents[2]).translate(LOWERED)) / 100
        end = max(end, cents.end())
    if amount is not None and sign in minor_units.MEANINGS:
        amount = _of_minor(amount, sign, code, readable[start:end], is_told=currency is not None)
    elif isinstance(amount, int) and (part := minor_units.behind_whole(readable, end, code if code in ISO_4217 else None)):
        amount, end = amount + (-part[0] if found.negative else part[0]), part[1]
    if amount is not None and found.negative and _DASH.match(written):  # a dash before a space is not a minus sign
        amount = -amount
    return None if amount is None else price(amount, code, _line(written[start:end]))


def of_data(found: Json, document: Document, *, currency: str | None = None) -> Json:
    """Return the price in a value from the page's embedded data; None if the value is not a price.

    A price is a number, a text such as "1299.00", or an offer as defined by schema.org.
    """
    if isinstance(found, dict):
        amount = next((found[name] for name in _AMOUNTS if found.get(name) not in (None, "")), None)
        own = next((str(found[name]) for name in _CURRENCIES if found.get(name)), None)
        read = of_data(amount, document, currency=own or currency) if isinstance(amount, (int, float, str)) else None
        return read | {"text": " ".join(part for part in (read["text"], own) if part)} if read is not None else None
    if isinstance(found, str) and not _MACHINE.fullmatch(found.strip()):
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float, str)):
        return None
    return price(float(found), currency or _declared_in(document.text), str(found).strip())


def _chosen(text: str) -> tuple[Found, str, int, int] | None:
    """Return the number that is the price, its currency sign, and the start and end of number and sign in the text.

    Return None if the text has no number. The first number with a currency sign is chosen, else the first number. A price per
    measure ("2 € / kg") is chosen only when there is no other price.
    """
    numbers = [found for found in find(text) if not _PERCENT.match(text, found.end) and not _DATE.fullmatch(found.digits)]
    rate = None
    for before, after in _TOUCHING:
        for at, found in enumerate(numbers):
            front, behind = before.search(text[max(0, found.start - 12):found.start]), after.match(text, found.end)
            if front or behind:
                start = found.start - (len(front.string) - front.start() if front else 0)
                end = behind.end() if behind else found.end
                sign = next(match[1] for match in _preferred(front, behind))
                if front and sign in _SEVERAL and (named := _NAMED.search(text[max(0, start - 6):start])) and (
                        code := named[1] if named[1] in ISO_4217 else _SIGNS.get(f"{named[1]}{sign}", "")):  # COP$ 12, AU $12
                    sign, start = code, start - len(named[0])
                if sign == "p" and found.digits in minor_units.RESOLUTIONS:
                    continue
                if at and not front and _RANGE.fullmatch(text[numbers[at - 1].end:found.start]):
                    return numbers[at - 1], sign, numbers[at - 1].start, end
                if not _RATE.match(text, end):
                    return found, sign, start, end
                rate = rate or (found, sign, start, end)
    if rate is not None:
        return rate
    bare = [found for found in numbers if not _MEASURE.match(text, found.end)]
    bare = [found for found in bare if not found.abbreviated] or bare
    return (bare[0], ":-" if bare[0].end_mark == ":" else "", bare[0].start, bare[0].end) if bare else None


def _preferred(front: re.Match[str] | None, behind: re.Match[str] | None) -> Iterator[re.Match[str]]:
    """Yield the currency matches, unambiguous ones first: for example "CAD" before "$" in "$12 CAD"."""
    yield from sorted((match for match in (front, behind) if match), key=lambda match: match[1] in _SEVERAL)


def _currency(sign: str, document: Document, told: str | None) -> str | None:
    """Return the currency code that a sign means on a page.

    Return the sign itself if its currency is unclear. Return None if `sign` is empty and the page names no currency. told: the
    currency set for the field, used if the sign is empty or ambiguous; None if not set.
    """
    sign = sign.strip()
    if sign in ISO_4217:
        return sign
    if sign in _SIGNS:
        return _SIGNS[sign]
    if told is not None:
        return told
    declared = _declared_in(document.text)
    meanings = _SEVERAL.get(sign) or minor_units.MEANINGS.get(sign)
    if meanings is None:
        return declared
    if declared in meanings.values():
        return declared
    places = _places(document)
    return next((meanings[place] for place in [*places, ""] if place in meanings), "") or sign.rstrip(".")


def _of_minor(amount: float, sign: str, code: str | None, written: str, *, is_told: bool) -> float:
    """Convert a price in minor units (99¢) to whole units (0.99).

    Raise RuleFailedError if the sign may also stand for whole units and the settings do not name the currency. is_told: whether
    the settings name the currency.
    """
    if code in minor_units.WHOLE.get(sign, ()):
        return amount
    if written[-1].isdigit() and not is_told:
        raise RuleFailedError(f"{written!r} may mean cents or colones; set `currency`")
    return round(amount / minor_units.share(sign), 6)


@lru_cache(maxsize=2)  # each of the prices of a long page would search the page again
def _declared_in(page: str) -> str | None:
    """Return the currency in the page's metadata (schema.org, OpenGraph); None unless the metadata names exactly one."""
    found = {code for code in _DECLARED.findall(page) if code in ISO_4217} if "urrency" in page else set()
    return next(iter(found)) if len(found) == 1 else None


@lru_cache(maxsize=2)
def _language_in(page: str) -> tuple[str, ...]:
    """Return the country and the language in the page's lang attribute; () if there is none."""
    match = _LANGUAGE.search(page[:20_000])
    return ((match[2] or "").upper(), match[1].lower()) if match else ()


def _places(document: Document) -> list[str]:
    """Return a list: the country and the language in the page's lang attribute, and the country of the page's domain."""
    said = _language_in(document.text)
    domain = (urlsplit(document.url).hostname or "").rpartition(".")[2].upper()
    return [place for place in [*said, domain if len(domain) == 2 and domain != "CO" else ""] if place]


def _line(text: str) -> str:
    return " ".join(text.split())
