"""Read prices, numbers and percentages in field values, and write their changes in the same style."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Literal

from pipeline.model import Json
from pipeline.numbers import Found, NumberError, find, plain, with_decimals
from pipeline.price import is_price
from pipeline.text import clean_line

_LONGEST = 200
"""Maximum number of characters of a text in which a figure is searched."""
_MOST_DIGITS = 15
"""A number with more digits before or after its decimal mark is no figure: it is shown as it is stored."""
_CODES = frozenset("""AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KRW KZT MAD MXN MYR NGN NOK NZD PEN
PHP PKR PLN RON RSD RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR""".split())  # noqa: SIM905  a list would fill a page
_WORDS = frozenset("""kr kr. zł kč ft lei лв лв. руб руб. р. грн грн. rs rs. rm rp rmb fr. sfr. tl nis euro euros eur 元 圓 円 원 บาท د.إ ر.س د.ك ج.م
درهم ريال دينار جنيه שקל שקלים ש"ח ש״ח dh dhs kd""".split())  # noqa: SIM905  see above
_PERCENT = re.compile(r"\s?[%٪％﹪]")
_INDIAN = re.compile(r"\d{1,2}(?:\D\d{2})+\D\d{3}(?!\d)")
_DASH = re.compile(r"[-\u2212\u2013]\s*$")


@dataclass(frozen=True)
class Figure:
    """A number with its unit, and the style in which it is written.

    unit: what figures must have in common so that their difference has a meaning, for example a currency; None if it is unknown.
    before, after: the unit as written before and after the number, with blanks. decimals: number of decimals. mark, group: the decimal
    mark, and the separator of thousands ("" if none is written). zero: the digit zero of the script.
    """

    amount: Decimal
    unit: str | None
    before: str = ""
    after: str = ""
    decimals: int = 0
    mark: str = "."
    group: str = ""
    indian: bool = False
    zero: str = "0"

    @property
    def is_percentage(self) -> bool:
        return (self.unit or "").startswith("%")


def figure_of(value: Json, *, strict: bool) -> Figure | None:
    """Return the figure of a field's value, or None if the value has none.

    value: a price, a number, or a text. strict: whether a text must consist of nothing but a number with a currency or a percent sign;
    otherwise it needs only to contain exactly one number.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return _of_number(value)
    if is_price(value):
        return _of_price(value)
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    return _of_text(value, strict=strict)


def _of_number(value: float) -> Figure | None:
    try:
        amount = Decimal(str(value) if isinstance(value, int) else f"{value:.12g}")
    except (InvalidOperation, ValueError):  # an integer too large for str()
        return None
    if not amount.is_finite() or (amount and not -_MOST_DIGITS < amount.adjusted() < _MOST_DIGITS):
        return None
    return Figure(amount, "", decimals=max(0, -int(amount.as_tuple().exponent)))


def _of_price(value: dict[str, Json]) -> Figure | None:
    plain_figure = _of_number(value["amount"])
    if plain_figure is None:
        return None
    text, currency = clean_line(str(value["text"]), _LONGEST), value["currency"]
    for written, found in _numbers(text):
        styled = _styled(written, found, plain_figure.amount)
        if styled is not None:
            return replace(styled, unit=currency or None) if currency else styled
    return replace(plain_figure, unit=currency, after=f" {currency}" if currency else "")


def _of_text(value: str, *, strict: bool) -> Figure | None:
    text = clean_line(value)
    numbers = list(_numbers(text))
    if len(numbers) != 1:
        return None
    written, found = numbers[0]
    try:
        amount = found.value(three="group" if strict or _has_currency(written) else "decimals")
    except NumberError:
        return None
    number = _of_number(amount) if amount is not None else None
    styled = _styled(written, found, number.amount) if number is not None else None
    if styled is None:
        return None
    rest = f"{written[:found.start]} {written[found.end:]}".replace(styled.before.strip(), "", 1).replace(styled.after.strip(), "", 1)
    if strict:
        return styled if styled.unit and not rest.strip(" -+\u2212") else None
    return replace(styled, unit="/".join([styled.unit or "", *_counted(rest)]))


def _counted(rest: str) -> list[str]:
    """Return what a text says about its number beside the currency: signs, and words without the end that is different in the plural.

    Two numbers with different words have no difference: "5 € a month" and "50 € a year", "5°C" and "41°F".
    """
    return [found[:3] for found in re.findall(r"[^\W\d_]+|[^\w\s.,;:!*+\u2212\u2013\u2014-]", rest.casefold())]


def _numbers(text: str) -> list[tuple[str, Found]]:
    """Return the numbers in a text, each with the text in which its position counts."""
    if with_decimals(text) != text:  # "5½"
        return []
    written = "".join(character for character in text if character.isascii() or unicodedata.category(character) != "Cf")
    return [(written, found) for found in find(plain(written))]


def _styled(written: str, found: Found, amount: Decimal) -> Figure | None:
    """Return the figure with the style of the number in a text; None if the number is not the amount."""
    start = found.start + plain(written)[found.start:].index(found.digits)
    for mark in dict.fromkeys([*re.findall(r"[.,'\u066b ]", found.digits)[-1:], ""]):
        whole, _, fraction = found.digits.rpartition(mark) if mark else (found.digits, "", "")
        if (fraction and not fraction.isdigit()) or Decimal(f"{re.sub(r'[^0-9]', '', whole) or 0}.{fraction or 0}") != abs(amount):
            continue
        before, after = _unit_before(written[:found.start]), _unit_after(written[found.end:])
        unit = "%" if _PERCENT.fullmatch(after) and not before else (before.strip() + after.strip()).casefold()
        group = re.search(r"\D", whole)
        separator = written[start + group.start()] if group else ""
        decimal_mark = written[start + len(whole)] if mark else "," if separator == "." else "."
        first = written[start] if written[start].isdigit() else "0"
        return Figure(amount, unit, before, after, len(fraction), decimal_mark, separator, bool(_INDIAN.fullmatch(whole)),
                      chr(ord(first) - unicodedata.decimal(first, 0)))
    return None


def _unit_before(text: str) -> str:
    token = re.search(r"[^\s()]+\s*$", _DASH.sub("", text))
    unit = token[0].lstrip("-+\u2212\u2013") if token else ""
    return unit if _is_currency(unit.strip()) else ""


def _unit_after(text: str) -> str:
    percent = _PERCENT.match(text)
    if percent:
        return percent[0]
    token = re.match(r"\s*[^\s/()]+", text)
    if token is None:
        return ""
    unit = token[0] if _is_currency(token[0].strip()) else token[0].rstrip(".,;:*")
    return unit if _is_currency(unit.strip()) else ""


def _is_currency(token: str) -> bool:
    return token in _CODES or token.casefold() in _WORDS or (
        len(token) <= 5 and any(unicodedata.category(character) == "Sc" for character in token) and not any(map(str.isdigit, token)))


def _has_currency(text: str) -> bool:
    return any(map(_is_currency, re.split(r"[\s\d.,']+", text)))


@dataclass(frozen=True)
class Delta:
    """The difference of two figures.

    amount: the difference in the style of the figures, with its sign, such as "+£0.50". share: the difference as a share of the old
    figure; None if it says nothing. direction: "up" or "down".
    """

    amount: str
    share: Decimal | None
    direction: Literal["up", "down"]


def delta_of(old: Figure | None, new: Figure | None) -> Delta | None:
    """Return the difference of two figures; None if there is none, or if their units differ."""
    if old is None or new is None or old.unit != new.unit or old.amount == new.amount:
        return None
    difference = new.amount - old.amount
    style = replace(new, amount=abs(difference), decimals=max(old.decimals, new.decimals), group=new.group or old.group,
                    mark=new.mark if new.decimals else old.mark)
    if not style.group and old.indian:
        style = replace(style, indian=True)
    share = difference / old.amount if old.amount > 0 and not new.is_percentage else None
    return Delta(f"{'+' if difference > 0 else '−'}{written(style)}", share, "up" if difference > 0 else "down")


def written(figure: Figure) -> str:
    """Return a figure as text, in its own style. The sign is that of the amount."""
    digits = f"{abs(figure.amount):.{figure.decimals}f}"
    whole, _, fraction = digits.partition(".")
    if figure.group:
        whole = _grouped(whole, figure.group, indian=figure.indian)
    text = whole + (figure.mark + fraction if fraction else "")
    if figure.zero != "0":
        text = "".join(chr(ord(figure.zero) + int(character)) if character.isascii() and character.isdigit() else character for character in text)
    return f"{'−' if figure.amount < 0 else ''}{figure.before}{text}{figure.after}"


def _grouped(whole: str, separator: str, *, indian: bool) -> str:
    head, tail = whole[:-3], whole[-3:]
    size, parts = 2 if indian else 3, [tail]
    while head:
        parts.insert(0, head[-size:])
        head = head[:-size]
    return separator.join(parts)
