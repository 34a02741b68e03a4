"""A text with placeholders that is filled in as its language writes numbers and plurals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from babel import Locale


@cache
def locale_of(language: str) -> Locale:
    """Return the conventions of a language (Unicode CLDR): plural forms, and how numbers and dates are written.

    language: a language tag (BCP 47), such as "de" or "pt-BR". Raises ValueError if it is not the tag of a known language.
    """
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415  their data takes time to load, and only a process that writes mails needs it

    try:
        return Locale.parse(language, sep="-")
    except UnknownLocaleError as error:
        raise ValueError(str(error)) from error


class Phrase(str):
    """A text for str.format(), in one language.

    A whole number whose placeholder has the format ",", as in "{n:,} new", is written with the separators of the language. A phrase
    may have a form for each plural category of the language (Unicode CLDR); the number of the placeholder {n} chooses the form.
    """

    __slots__ = ("_forms", "_language")

    _forms: Mapping[str, str]
    _language: str

    def __new__(cls, text: str, language: str, forms: Mapping[str, str] | None = None) -> Self:
        """text: the form for every number that has no form of its own in `forms`, which maps plural categories to forms."""
        phrase = super().__new__(cls, text)
        phrase._forms = forms or {}
        phrase._language = language
        return phrase

    def format(self, *args: object, **values: object) -> str:
        """Return the text with the placeholders replaced by `values`."""
        n = values.get("n")
        form = str(self)
        if self._forms and isinstance(n, (int, float)):
            form = self._forms.get(locale_of(self._language).plural_form(n), form)
        return form.format(*args, **{name: _Number(value, self._language) if type(value) is int else value
                                     for name, value in values.items()})


class _Number:
    """A whole number as the value of a placeholder."""

    def __init__(self, value: int, language: str) -> None:
        self._value = value
        self._language = language

    def __format__(self, spec: str) -> str:
        if spec == ",":
            from babel.numbers import format_decimal  # noqa: PLC0415  see locale_of

            return format_decimal(self._value, locale=locale_of(self._language))
        return format(self._value, spec)
