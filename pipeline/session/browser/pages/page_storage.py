"""Gives the session's web storage to the pages of one browser context, and takes it over from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from playwright.async_api import BrowserContext, Error, Frame, Page, Route, StorageState

from pipeline.session.trusted_origins import TrustedOrigins, shown_origin
from pipeline.session.web_storage import ORIGIN_BYTES, OriginStorage, WebStorage
from pipeline.text import clean_line

logger = logging.getLogger(__name__)

_MOST_FRAMES = 10
"""The frames of a page whose storage is read."""
_READ = """limit => {
  const read = storage => Object.fromEntries(Array.from({length: storage.length}, (_, at) => storage.key(at)).map(name => [name, storage.getItem(name)]));
  const found = [read(localStorage), read(sessionStorage)];
  return JSON.stringify(found).length > 2 * limit ? null : found;
}"""
_WRITE = """([local, session]) => {
  for (const [name, value] of local) value === null ? localStorage.removeItem(name) : localStorage.setItem(name, value);
  sessionStorage.clear();
  for (const [name, value] of session) sessionStorage.setItem(name, value);
}"""


class PageStorage:
    """The web storage of the pages of one browser context.

    storage: the storage of the session. trusted: the origins whose storage is kept.
    """

    def __init__(self, storage: WebStorage, trusted: TrustedOrigins) -> None:
        self._storage = storage
        self._trusted = trusted
        self._known: dict[str, Mapping[str, str]] = {}  # localStorage as the context has it, by origin
        self._given: WeakKeyDictionary[Page, dict[str, Mapping[str, str]]] = WeakKeyDictionary()  # sessionStorage as a page had it first
        self._version = -1

    def state(self) -> StorageState | None:
        """Return the state with which to create the context; None if there is nothing to keep."""
        kept = self._storage.snapshot()
        self._known = {origin: storage.local for origin, storage in kept.items()}
        found: Any = [{"origin": origin, "localStorage": [{"name": name, "value": value} for name, value in storage.local.items()],
                       **({"indexedDB": list(storage.databases)} if storage.databases else {})}
                      for origin, storage in kept.items() if storage.local or storage.databases]
        return {"cookies": [], "origins": found} if found else None

    async def before(self, page: Page) -> None:
        """Give what has changed in the session's storage to the context of a blank page, and sessionStorage to the page."""
        version = self._storage.version
        wanted = self._storage.snapshot()
        changed = [] if version == self._version else [
            origin for origin in wanted.keys() | self._known.keys() if wanted.get(origin, _NOTHING).local != self._known.get(origin, {})]
        for origin in {*changed, *(origin for origin, storage in wanted.items() if storage.session)}:
            storage = wanted.get(origin, _NOTHING)
            await _write(page, origin, _changes(self._known.get(origin, {}), storage.local) if origin in changed else {}, storage.session)
            self._known[origin] = storage.local
        self._given[page] = {origin: storage.session for origin, storage in wanted.items()}
        self._version = version

    async def after(self, page: Page) -> None:
        """Take over what a page has changed in its storage. Other pages and processes may have changed other entries meanwhile."""
        for frame in page.frames[:_MOST_FRAMES]:
            if self._trusted.trust(frame.url) and (entries := await read_storage(frame)) is not None:
                self._put(page, shown_origin(frame.url), *entries)

    def _put(self, page: Page, origin: str, local: dict[str, str], session: dict[str, str]) -> None:
        given = self._given.get(page, {}).get(origin, {})
        self._storage.apply({(origin, "local", name): value for name, value in _changes(self._known.get(origin, {}), local).items()}
                            | {(origin, "session", name): value for name, value in _changes(given, session).items()})
        self._known[origin] = local
        self._version = -1  # the next page compares again what this context has


_NOTHING = OriginStorage()


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """Return the entries that differ; None for one that `after` lacks."""
    return {name: value for name, value in after.items() if before.get(name) != value} | dict.fromkeys(before.keys() - after.keys())


async def keep_databases(context: BrowserContext, storage: WebStorage, trusted: TrustedOrigins) -> None:
    """Take over the IndexedDB databases that the pages of a context have left."""
    try:
        found: Any = await context.storage_state(indexed_db=True)
    except Error as error:  # a database may have values that cannot be stored, such as keys that cannot be exported
        logger.info("the IndexedDB databases cannot be kept: %s", clean_line(str(error), 200))
        return
    for entry in found["origins"]:
        if trusted.trust(entry["origin"]) and entry.get("indexedDB"):
            before = storage.of(entry["origin"])
            storage.put(entry["origin"], OriginStorage(before.local, before.session, tuple(entry["indexedDB"])))


async def read_storage(frame: Frame) -> tuple[dict[str, str], dict[str, str]] | None:
    """Return the entries of localStorage and sessionStorage; None if they cannot be read, as in a sandboxed frame, or are too large."""
    try:
        found = await frame.evaluate(_READ, ORIGIN_BYTES)
        local, session = ({str(name): str(value) for name, value in entries.items()} for entries in found)
    except (Error, TypeError, ValueError, AttributeError):
        return None
    return local, session


async def _write(page: Page, origin: str, local: Mapping[str, str | None], session: Mapping[str, str]) -> None:
    """Apply changes to the localStorage of an origin, and replace its sessionStorage, through an empty document of this origin that is not fetched from the site."""
    async def fulfil(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/html", body="")

    await page.route("**/*", fulfil)
    try:
        await page.goto(f"{origin}/")
        await page.evaluate(_WRITE, [list(local.items()), list(session.items())])
    finally:
        await page.unroute("**/*", fulfil)
