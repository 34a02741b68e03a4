"""Prices as field values: {"amount": 1299, "currency": "EUR", "text": "1.299,--€"}."""

from __future__ import annotations

from typing import Any

Json = Any

_KEYS = frozenset(("amount", "currency", "text"))


def price(amount: float, currency: str | None, text: str) -> dict[str, Json]:
    """Return a price as a field value.

    currency: ISO 4217 code; the sign on the page, such as "$", if several currencies use this sign; None if the currency is unknown.
    text: the price as the site writes it.
    """
    return {"amount": int(amount) if amount == int(amount) else amount, "currency": currency, "text": text}


def is_price(value: Json) -> bool:
    """Return whether a field's value is a price, and not a record of a site with the same names."""
    return (isinstance(value, dict) and value.keys() == _KEYS and isinstance(value["amount"], (int, float)) and not isinstance(value["amount"], bool)
            and isinstance(value["text"], str) and (value["currency"] is None or isinstance(value["currency"], str)))


def amount_of(value: Json) -> int | float | None:
    """Return a number unchanged, the amount of a price, and None for any other value."""
    if is_price(value):
        value = value["amount"]
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def currency_of(value: Json) -> str | None:
    return value["currency"] if is_price(value) else None


def same(before: Json, after: Json) -> bool:
    """Return whether two field values are equal.

    Prices, including prices inside records and lists, are compared by amount and currency, not by text. Two prices of which one has
    no currency are compared by amount only.
    """
    if before == after:
        return True
    if is_price(before) and is_price(after):
        return bool(before["amount"] == after["amount"]) and same_currency(before, after)
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(same(value, after[name]) for name, value in before.items())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(same, before, after))
    return False


def same_currency(before: Json, after: Json) -> bool:
    one, other = currency_of(before), currency_of(after)
    return one is None or other is None or one == other
