"""Checks of a store, its files and the delivered mails after a torture run."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from pipeline.model import RecipientState
from pipeline.store import Store, open_store
from pipeline.store.crawl import items as stored_items
from pipeline.store.database.schema import (
    digests,
    download_files,
    downloads,
    items,
    messages,
    passes,
    recipients,
    runs,
    slots,
)
from pipeline.store.mail.digests import untold
from tests.servers.smtp import Received
from tests.service.hostile import FILES, ChangingSite

TOLD_BY = {"d": "s", "e": "t"}
"""Which digest tells of which spider."""
WINDOW_S = 3.0
"""How long a service may take, on a busy machine, from a server's acceptance to its own note of it."""


@dataclass
class Told:
    """What arrived. lost_notes, lost_answers: second copies, because the service was killed between the acceptance and
    its note of it, or because the server never said that it accepted."""

    digests: int = 0
    changes: int = 0
    lost_notes: int = 0
    lost_answers: int = 0
    runs: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Excuses:
    """When the service was ended, and from when to when the disk was full, which keeps a note from being written; by the
    monotonic clock."""

    ends: Sequence[float]
    full: Sequence[tuple[float, float]]

    def lost_note(self, first_s: float, again_s: float) -> bool:
        """Whether it was ended between an acceptance and its own note of it."""
        noted_s = max((end for begin, end in self.full if begin <= first_s + WINDOW_S and first_s <= end), default=first_s)
        return any(first_s <= at <= min(again_s, noted_s + WINDOW_S) for at in self.ends)


def prove(data: Path, changing: ChangingSite, received: Sequence[Received], excuses: Excuses) -> Told:
    """All of it. Raises AssertionError."""
    told = Told()
    store = open_store(data)
    try:
        stored = {(name, item.key): item.data["value"] for name in TOLD_BY.values()
                  for item in stored_items.present(store, name)}
        with store.read() as connection:
            order = [(row.name, row.message_id) for row in connection.execute(
                select(digests.c.name, messages.c.message_id).join(digests).order_by(messages.c.id))]
            _every_item_is_stored(connection, changing)
            _slots_and_leases(connection)
            refused = {(row.message_id, row.address) for row in connection.execute(
                select(messages.c.message_id, recipients.c.address).join(recipients).where(
                    recipients.c.state == RecipientState.REFUSED.value))}
            told.runs.update(connection.execute(select(runs.c.outcome)).scalars())
        assert stored == {(name, key): value for name in TOLD_BY.values() for key, value in changing.shown.items()}, \
            "the store is not what the site shows"
        contents = _accepted_once(received, refused, told, excuses)
        assert set(contents) == {name for _, name in order}, "a message is missing, or came from nowhere"
        _told_once(order, contents, stored, told)
        for name, spider in TOLD_BY.items():
            assert not untold(store, name, [spider]), f"runs that digest {name} never told of"
        _files_are_whole(store, changing)
        _every_file_is_accounted_for(store)
    finally:
        store.close()
    left = [path.name for path in data.iterdir() if path.name.endswith(("-wal", "-shm", "-journal"))]
    assert not left, f"files of an open database are left: {left}"
    _no_lock_is_held(data)
    return told


def _every_item_is_stored(connection: Connection, changing: ChangingSite) -> None:
    for spider in TOLD_BY.values():
        known = set(connection.execute(select(items.c.key).where(items.c.spider == spider)).scalars())
        assert changing.ever <= known, f"{spider} never saw {sorted(changing.ever - known)}"


def _accepted_once(received: Sequence[Received], refused: set[tuple[str, str]], told: Told, excuses: Excuses) -> dict[str, bytes]:
    """By Message-ID what it said; every second copy to one recipient has its excuse. refused: for good, by Message-ID and
    address."""
    contents: dict[str, bytes] = {}
    accepted: dict[tuple[str, str], Received] = {}
    for one in received:
        name = str(parsed(one.content)["Message-ID"])
        assert contents.setdefault(name, one.content) == one.content, "a message was sent again, but not the same"
        for recipient in one.recipients:
            first = accepted.get((name, recipient))
            accepted[name, recipient] = one
            if first is None:
                continue
            if not first.answered:
                told.lost_answers += 1
            else:
                assert excuses.lost_note(first.at, one.at), f"{name} was accepted for {recipient} and sent again {one.at - first.at:.1f} s later"
                told.lost_notes += 1
    everybody = {name: {to for of, to in {*accepted, *refused} if of == name} for name in contents}
    wanted = {"you@example.com", "other@example.com"}
    assert all(to == wanted for to in everybody.values()), "a recipient was left out"
    return contents


def last_told(order: Sequence[tuple[str, str]], contents: dict[str, bytes]) -> tuple[dict[tuple[str, str], Any], int]:
    """What the digests say each item is in the end, by digest and key, and the number of changes.

    The digests of one name link up: what one says an item was is what the one before said it had become.
    """
    last: dict[tuple[str, str], Any] = {}
    changes = 0
    for digest, name in order:
        for change in changes_in(contents[name]):
            key, before, after = (digest, change["key"]), change["before"], change["after"]
            if change["change"] == "back":  # what it was before it went
                before = {}
            assert before == last.get(key, {}), f"{key}: told {before} after {last.get(key)}"
            last[key] = after
            changes += 1
    return last, changes


def _told_once(order: Sequence[tuple[str, str]], contents: dict[str, bytes], stored: dict[tuple[str, str], Any],
               told: Told) -> None:
    last, told.changes = last_told(order, contents)
    told.digests = len(order)
    believed = {(TOLD_BY[digest], key): item["value"] for (digest, key), item in last.items() if item}
    assert believed == stored, "a change was never told"


def _slots_and_leases(connection: Connection) -> None:
    """Each pass that succeeded was followed once; no slot has two passes; nothing is leased to anybody, or unended."""
    succeeded = connection.execute(select(runs.c.pass_id).where(
        runs.c.spider == "s", runs.c.outcome == "succeeded")).scalars().all()
    followed = connection.execute(select(slots.c.key).where(slots.c.spider == "t", slots.c.reason == "after")).scalars().all()
    assert sorted(followed) == sorted(f"after s pass {number}" for number in succeeded)
    taken = connection.execute(select(passes.c.slot_id)).scalars().all()
    assert len(taken) == len(set(taken))
    for table in (runs, downloads, digests, messages):
        held = connection.execute(select(table.c.id).where(table.c.lease_owner != "", table.c.lease_until.is_not(None))).all()
        assert not held, f"{table.name}: leases are left: {held}"
    at_work = connection.execute(select(runs.c.id).where(runs.c.started_at.is_not(None), runs.c.ended_at.is_(None))).all()
    assert not at_work, f"runs never ended: {at_work}"


def _files_are_whole(store: Store, changing: ChangingSite) -> None:
    with store.read() as connection:
        rows = connection.execute(select(download_files).where(download_files.c.doomed_at.is_(None)).order_by(
            download_files.c.id)).all()
    newest: dict[str, str] = {}
    for row in rows:
        found = hashlib.sha256(store.files.path(row.key).read_bytes()).hexdigest()
        assert found == row.sha256, f"{row.key} is not what was recorded"
        newest[row.url] = found
    for number in range(FILES):
        served = changing.versions(number)
        url = f"{changing.site.url}/f{number}"
        assert {row.sha256 for row in rows if row.url == url} <= set(served), "a file of bytes that nobody served"
        assert newest[url] == served[-1], f"{url}: its newest version is missing"


def _every_file_is_accounted_for(store: Store) -> None:
    """Nothing in data_dir that was only on the way, or belongs to nothing."""
    with store.read() as connection:
        known = {str(key) for key in connection.execute(select(download_files.c.key)).scalars()}
        known |= {str(key) for key in connection.execute(select(messages.c.file_key)).scalars()}
        known |= {f"logs/runs/{number}.log" for number in connection.execute(select(runs.c.id)).scalars()}
        known |= {f"logs/digests/{number}.log" for number in connection.execute(select(digests.c.id)).scalars()}
    known |= {key.removesuffix(".eml") + ".html" for key in known if key.endswith(".eml")}
    always = re.compile(r"pipeline\.sqlite3(-wal|-shm)?|serve\.lock|clock|heartbeat-token|jars/[st]\.(txt|json|lock)|hosts/[0-9a-f]+"
                        r"(\.\d+)?|cache/[st]\.sqlite3(-wal|-shm)?|item-index\.sqlite3(-wal|-shm)?")  # a killed run leaves the side files, and the next one removes them
    left = [key for path in store.data_dir.rglob("*") if not path.is_dir()
            if (key := path.relative_to(store.data_dir).as_posix()) not in known and not always.fullmatch(key)]
    assert not left, f"files that belong to nothing: {sorted(left)}"


def _no_lock_is_held(data: Path) -> None:
    found = [path.stat() for path in data.rglob("*")]
    ours = {f"{os.major(one.st_dev):02x}:{os.minor(one.st_dev):02x}:{one.st_ino}" for one in found}
    held = [line for line in Path("/proc/locks").read_text().splitlines() if ours & set(line.split())]
    assert not held, f"locks are held: {held}"


def parsed(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def changes_in(content: bytes) -> Iterator[dict[str, Any]]:
    for part in parsed(content).iter_attachments():
        if str(part.get_filename()).endswith(".jsonl"):
            yield from map(json.loads, part.get_payload(decode=True).decode().splitlines())
