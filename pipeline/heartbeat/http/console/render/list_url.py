"""The URLs of the pages of a list."""

from __future__ import annotations

from urllib.parse import urlencode


class ListUrl:
    """Makes the URLs of the pages of a list. path: of the list. values: the parameters of all pages; those that are empty are left out."""

    def __init__(self, path: str, **values: object) -> None:
        self._path = path
        self._values = values

    def __call__(self, **changed: object) -> str:
        """Return the URL with these parameters besides those of all pages, or instead of them."""
        query = urlencode({name: value for name, value in {**self._values, **changed}.items() if value})
        return f"{self._path}?{query}" if query else self._path
