"""Signs and words of minor units of currencies, in prices such as 99¢, 50p, £1 50p and 3元5角."""

from __future__ import annotations

import re
from typing import TypeVar

_Meaning = TypeVar("_Meaning")


def _all(words: str, meaning: _Meaning) -> dict[str, _Meaning]:
    return dict.fromkeys(words.split(), meaning)


# As in prices.py, a key is a country (from the page's lang attribute or domain) or a language; "" is the key of the default.
_EUROS = _all("IE MT CY DE AT NL BE FR IT FI EE de nl fr it fi et", "EUR")
_CENTS = {"US": "USD", "CA": "CAD", "AU": "AUD", "NZ": "NZD", "SG": "SGD", "HK": "HKD", "ZA": "ZAR", **_EUROS}
_OPEN = {"": ""}
_CENTAVOS = {"BR": "BRL", "PT": "EUR", "MX": "MXN", "AR": "ARS", "CO": "COP", "PH": "PHP", "BO": "BOB", "DO": "DOP", "GT": "GTQ"}
_CENTIMES = {"CH": "CHF", "FR": "EUR", "BE": "EUR", "LU": "EUR", "MA": "MAD", "fr": "EUR"}
_ORE = {"SE": "SEK", "NO": "NOK", "DK": "DKK", "sv": "SEK", "nb": "NOK", "nn": "NOK", "no": "NOK", "da": "DKK"}
_KOPEKS = {"BY": "BYN", "be": "BYN", "UA": "UAH", "uk": "UAH", "": "RUB"}
_PAISE = {"PK": "PKR", "NP": "NPR", "ur": "PKR", "ne": "NPR", "": "INR"}

MEANINGS: dict[str, dict[str, str]] = {
    **_all("¢ ￠", {**_CENTS, "CR": "CRC", "GH": "GHS", "": "USD"}), **_all("cents Cents", {**_CENTS, "": "USD"}),
    **_all("cent Cent c", {**_CENTS, **_OPEN}), **_all("ct ct. Ct Ct. cts cts.", {**_EUROS, **_OPEN}),
    "p": {"RU": "RUB", "ru": "RUB", "": "GBP"}, "pence": {"": "GBP"}, **_all("öre øre", {**_ORE, **_OPEN}),
    **_all("коп коп. копеек копейки копейка", _KOPEKS), **_all("копійок копійки копійка", {"": "UAH"}),
    **_all("grosz grosze groszy gr gr.", {"": "PLN"}), "centavos": {**_CENTAVOS, **_OPEN},
    "centimes": {**_CENTIMES, **_OPEN}, **_all("céntimos cêntimos centesimi λεπτά", {"": "EUR"}),
    **_all("Rappen Rp.", {"": "CHF"}), **_all("paise paisa पैसे", _PAISE), "kuruş": {"": "TRY"},
    **_all("haléřů haléře haléř", {"": "CZK"}), "bani": {"": "RON"}, **_all("角 分", {"": "CNY"})}
"""For each sign or word for a minor unit: the currency that it means, by the country or language of the page."""

ONLY_AFTER_WHOLE = frozenset(["gr", "gr.", "Rp.", "bani", "角", "分"])
"""Signs that mean minor units only after an amount in whole units. Elsewhere, they mean grams, rupiahs or minutes."""

WHOLE = {"¢": ("CRC", "GHS"), "￠": ("CRC", "GHS"), "p": ("RUB",)}
"""For each sign of a minor unit: the currencies whose whole units some sites write with the same sign."""

TOUCHING = frozenset(["p", "c"])
"""Signs that must follow their number without a space: "320 p" means pages."""

RESOLUTIONS = frozenset(["144", "240", "360", "480", "576", "720", "1080", "1440", "2160", "4320"])
"""Numbers that mean a video resolution and not pence if a "p" follows ("720p")."""

_AND = r"[\s,]{0,2}(?:(?:and|und|et|e|y|i|og|och|en|и|і|&)\s)?"
_BEHIND_WHOLE = re.compile(
    rf"{_AND}(\d{{1,2}})\s?({'|'.join(re.escape(sign) for sign in sorted(MEANINGS, key=len, reverse=True))})(?![^\W\d_]|\s?/)"
    r"(?:\s?(\d)\s?分)?")


def share(sign: str) -> int:
    """Return how many of the minor units written with this sign make one whole unit of the currency."""
    return 10 if sign == "角" else 100


def behind_whole(text: str, at: int, currency: str | None) -> tuple[float, int] | None:
    """Return the minor units that follow an amount in whole units, and the index at which their text ends.

    The minor units are returned as a fraction of a whole unit. Return None if no minor units follow. at: the index at which the
    amount in whole units ends (after the 1 in "£1 50p"). currency: the currency of the whole units; minor units of other
    currencies are not returned. None means that the currency is unknown.
    """
    match = _BEHIND_WHOLE.match(text, at)
    if match is None or (currency is not None and currency not in MEANINGS[match[2]].values()):
        return None
    return int(match[1]) / share(match[2]) + (int(match[3]) / 100 if match[3] else 0), match.end()
