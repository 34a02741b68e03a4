"""Settings with one temporary spider, whose session fetches a page that belongs to no spider."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.settings import Settings, SpiderTable

NAME = "page"
"""The name of the temporary spider."""
_GENERIC_LABELS = frozenset({"www", "www2", "m", "shop", "store", "blog", "docs", "web", "news", "en", "de"})


@contextmanager
def plain_settings(url: str, base: Settings | None, *, public_only: bool = False) -> Iterator[Settings]:
    """Yield settings with the spider NAME, which has `url` as its start, no cookies, no login and no proxy.

    Its files are in a temporary folder, which is deleted afterwards. base: the settings whose [pipeline] and [logs] are used; None
    for the defaults. public_only: whether not even the address of `url` may be private. Raises UsageError if `url` cannot be fetched.
    """
    base = base or Settings(file=str(Path("settings.toml").absolute()))
    try:
        spider = SpiderTable.model_validate({"start": url, "public_only": public_only})
    except ValidationError as error:
        raise UsageError(f"{url!r} is not a URL that can be fetched: {error.errors()[0]['msg']}") from error
    with tempfile.TemporaryDirectory(prefix="pipeline-page-") as folder:
        place = base.pipeline.model_copy(update={"data_dir": folder, "database": None})
        yield Settings(pipeline=place, logs=base.logs, browser=base.browser, spiders={NAME: spider}, file=base.file)


def name_for(url: str) -> str:
    """Return a name for a spider of this URL: the first label of its host that is not generic, such as "books" for www.books.example."""
    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:  # the URL has no valid host; whoever fetches it says so
        host = ""
    labels = host.split(".") if re.search(r"[a-z]", host) and ":" not in host else []
    specific = [label for label in labels[:-1] or labels if label not in _GENERIC_LABELS]
    name = re.sub(r"[^a-z0-9-]", "", specific[0] if specific else "").strip("-")[:64]
    return name if name and name != "localhost" else "site"
