"""The search index of items, a file in data_dir: finds all items that contain a text.

The file can be deleted at any time. The index is an FTS5 table of SQLite (https://www.sqlite.org/fts5.html) that maps each trigram, three characters in a row, to the items that
contain it in a field. A text can be in an item only if each of its trigrams is. What the index finds are candidates: whoever asks
examines each of them, because an item may contain the trigrams elsewhere, or may have changed since.

No crawl writes the index. The service adds items afterwards: those with an id above the last one in the index, and those that
`edited_items` lists, in which triggers of the database note items that changed or were deleted. Items that wait for this are candidates, too.
A database on PostgreSQL has no such index.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select

from pipeline.model import Json
from pipeline.store.database.bulk import is_one_of
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import edited_items, items
from pipeline.store.database.schema_version import database_id

FILE = "item-index.sqlite3"
"""The name of the file in data_dir."""
FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")
MOST_CANDIDATES = 10_000
"""A text with more candidates is so frequent that looking at the items one after the other finds enough for a page."""
MOST_WAITING, MOST_WAITING_OF_ALL = 10_000, 100_000
"""If more items of the spider, or of all spiders, wait to be added, the index is of no use."""
BATCH = 500
"""Number of items that are added in one transaction, which takes about 15 ms."""
LENGTH = 3
"""The length of a text for which the index is of use, in characters."""
_FORMAT = "1"
_MOST_TRIGRAMS = 24
_ID_BITS = 36
_CREATE = """
CREATE VIRTUAL TABLE trigrams USING fts5(text, content='', detail=none, columnsize=0, tokenize='trigram case_sensitive 1');
CREATE TABLE spiders (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE state (format TEXT NOT NULL, database TEXT NOT NULL, last_id INTEGER NOT NULL, round INTEGER NOT NULL, base INTEGER NOT NULL,
                    again INTEGER NOT NULL);
"""


class ItemIndex:
    """The index of one database.

    A document of the index has the number `round << 36 | id of the item`. An item that changed is added once more with the number of a new round;
    its document of before stays, until there are as many such documents as items: then the index is built anew.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE

    @classmethod
    def of(cls, store: Store) -> ItemIndex | None:
        return cls(store.data_dir) if store.kind == "sqlite" else None

    def candidates(self, connection: Connection, spider: str, text: str) -> set[int] | None:
        """Return the ids of all items that may contain a text, some of other spiders among them; None if the index cannot say.

        connection: a transaction of the store that has read nothing yet. text: in the form of str.casefold().
        """
        if len(text) < LENGTH or not self._path.exists():
            return None
        of_spider = items.c.spider.concat("") == spider  # by an expression, or SQLite would scan all items of the spider
        edited = select(items.c.id).where(items.c.id.in_(select(edited_items.c.item_id)), of_spider)
        found = set(connection.execute(edited.limit(MOST_WAITING + 1)).scalars())  # before the index is read, so that none is missed
        highest, number = connection.execute(_WAITING).one()
        try:
            with self._opened() as index:
                state = _state(index, database_id(connection))
                documents = _documents(index, spider, text) if state is not None else None
        except sqlite3.Error:  # the file is damaged, or was deleted a moment ago: `update` builds it anew
            return None
        if state is None or documents is None or (highest or 0) - state[0] + number > MOST_WAITING_OF_ALL:
            return None
        found.update(connection.execute(select(items.c.id).where(items.c.id > state[0], of_spider).limit(MOST_WAITING + 1)).scalars())
        return found | documents if len(found) <= MOST_WAITING else None

    def update(self, store: Store) -> int:
        """Add a batch of items. Return the number of items that were examined: less than BATCH if none waits any more.

        Raises StoreError, and sqlite3.Error if the file cannot be written or SQLite was built without FTS5.
        """
        try:
            return self._update(store)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):  # "malformed", "not a database"
                self.delete()
            raise

    def delete(self) -> None:
        for name in FILES:
            self._path.with_name(name).unlink(missing_ok=True)

    def _update(self, store: Store) -> int:
        with self._opened() as index:
            with store.read() as connection:
                known = database_id(connection)
                last_id, number, base, again = _state(index, known) or _begin(index, known)
                highest: int = connection.execute(select(func.max(items.c.id))).scalar() or 0
                edited = {row.item_id: row.edits for row in connection.execute(select(edited_items).limit(BATCH))}
                again_ids = [each for each in edited if each <= last_id]
                if again + len(again_ids) > highest + BATCH:
                    last_id, number, base, again = _begin(index, known)
                    again_ids = []
                changed = _rows(connection, again_ids)
                if highest < last_id:  # the newest items were deleted: a new item may get their ids
                    last_id, number = highest, number + 1
                    base = number
                new = list(connection.execute(_NEW, {"after": last_id, "most": BATCH}))
            if new or edited:
                number += 1
                # The items of `edited` are no longer listed once this is committed, so that it must survive a power failure.
                index.execute(f"PRAGMA synchronous={'FULL' if edited else 'NORMAL'}")
                _add(index, ((number << _ID_BITS | row.id, row) for row in changed), ((base << _ID_BITS | row.id, row) for row in new))
                index.execute("UPDATE state SET last_id = ?, round = ?, base = ?, again = ?", (new[-1].id if new else last_id, number, base, again + len(changed)))
                index.execute("COMMIT")
        if edited:
            with store.write() as connection:
                connection.execute(_DONE, [{"item": item, "seen": edits} for item, edits in edited.items()])
        return max(len(new), len(edited))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self._path.exists():
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))  # SQLite gives the -wal and -shm files the same mode
        with closing(sqlite3.connect(self._path, timeout=5.0, isolation_level=None)) as connection:
            yield connection


_WAITING = select(select(func.max(items.c.id)).scalar_subquery(), select(func.count()).select_from(edited_items).scalar_subquery())
_NEW = select(items.c.id, items.c.spider, items.c.data).where(items.c.id > bindparam("after")).order_by(items.c.id).limit(bindparam("most"))
_DONE = delete(edited_items).where(edited_items.c.item_id == bindparam("item"), edited_items.c.edits == bindparam("seen"))


def _rows(connection: Connection, ids: Sequence[int]) -> Sequence[Any]:
    return connection.execute(select(items.c.id, items.c.spider, items.c.data).where(is_one_of(connection, items.c.id, ids))).all() if ids else []


def _state(index: sqlite3.Connection, database: str) -> tuple[int, int, int, int] | None:
    """Return the last id, the round, the round of new items, and the number of documents of changed items; None if there is no index.

    database: the id of the database; the index of another one is of no use, such as that of before a restore.
    """
    if index.execute("SELECT 1 FROM sqlite_schema WHERE name = 'state'").fetchone() is None:
        return None
    row = index.execute("SELECT format, database, last_id, round, base, again FROM state").fetchone()
    return row[2:] if row is not None and row[:2] == (_FORMAT, database) else None


def _begin(index: sqlite3.Connection, database: str) -> tuple[int, int, int, int]:
    """Begin an empty index."""
    index.execute("PRAGMA journal_mode=WAL")
    index.execute("BEGIN IMMEDIATE")
    for name in ("trigrams", "spiders", "state"):
        index.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in filter(str.strip, _CREATE.split(";")):
        index.execute(statement)
    index.execute("INSERT INTO state VALUES (?, ?, 0, 0, 0, 0)", (_FORMAT, database))
    index.execute("COMMIT")
    return 0, 0, 0, 0


def _add(index: sqlite3.Connection, *groups: Iterable[tuple[int, Any]]) -> None:
    """Begin a transaction, and add the documents of items by their numbers."""
    index.execute("BEGIN IMMEDIATE")
    tokens: dict[str, str] = {}
    for group in groups:
        documents = []
        for number, row in group:
            if row.spider not in tokens:
                index.execute("INSERT INTO spiders (name) VALUES (?) ON CONFLICT DO NOTHING", (row.spider,))
                tokens[row.spider] = _token(index, row.spider) or ""
            documents.append((number, tokens[row.spider] + _indexed("\x1f".join(texts_of(row.data)).casefold())))
        index.executemany("INSERT INTO trigrams (rowid, text) VALUES (?, ?)", documents)


def _documents(index: sqlite3.Connection, spider: str, text: str) -> set[int] | None:
    """Return the ids of items whose documents have all trigrams of a text; None if there are too many."""
    token, wanted = _token(index, spider), _indexed(text)
    if token is None:
        return set()
    trigrams = list(dict.fromkeys(wanted[at:at + LENGTH] for at in range(len(wanted) - LENGTH + 1)))
    step = -(-len(trigrams) // _MOST_TRIGRAMS)
    query = " AND ".join('"{}"'.format(each.replace('"', '""')) for each in (token, *trigrams[::step]))
    found = index.execute("SELECT rowid FROM trigrams WHERE trigrams MATCH ? LIMIT ?", (query, MOST_CANDIDATES + 1)).fetchall()
    return {number & ((1 << _ID_BITS) - 1) for number, in found} if len(found) <= MOST_CANDIDATES else None


def _token(index: sqlite3.Connection, spider: str) -> str | None:
    """Return the trigram that all items of a spider have, of characters for private use; None if no item of it is in the index."""
    row = index.execute("SELECT number FROM spiders WHERE name = ?", (spider,)).fetchone()
    return f"{chr(0xF0000 + row[0] // 4096)}{chr(0xF1000 + row[0] % 4096)}\U000F3000" if row is not None else None


def _indexed(text: str) -> str:
    """Return a text as the index has it. SQLite ends a text at NUL, and does not store lone surrogates."""
    return text.replace("\0", "\x1f").encode("utf-8", "replace").decode()


def texts_of(value: Json) -> Iterator[str]:
    """Yield the text of each value in a value."""
    if isinstance(value, dict):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts_of(each)
    elif value is not None:
        yield str(value)
