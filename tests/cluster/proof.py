"""Checks of a cluster from the outside, once it is quiet.

Its database, its files, the delivered mails, the log of the site.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from pipeline.store.crawl import items as stored_items
from pipeline.store.database.schema import (
    changes,
    digests,
    download_files,
    downloads,
    items,
    messages,
    passes,
    run_members,
    runs,
    slots,
)
from pipeline.store.mail.digests import untold
from tests.cluster.cluster import SHARED, TO, Cluster
from tests.cluster.faults import EVERYWHERE, Fault
from tests.cluster.namespaces import node_of
from tests.cluster.site import FILES, Request
from tests.servers.smtp import Received
from tests.service.proof import last_told, parsed

NOTE_WINDOW_S = 3.0
"""How long a node may take, on a busy machine, from a server's acceptance to its own note of it."""
LOGIN_WINDOW_S = 5.0
"""How long a node may take, on a busy machine, from a login to its note of the cookies."""


@dataclass
class Counted:
    """What was checked, and what was excused by a fault."""

    items: int = 0
    changes: int = 0
    digests: int = 0
    copies: int = 0
    files: int = 0
    objects: int = 0
    unrecorded_objects: int = 0
    parts_of_killed_processes: int = 0
    logins: int = 0
    session_ends: int = 0
    requests: int = 0
    pages_of_nodes: Counter[str] = field(default_factory=Counter)
    """Of the spider that spans two nodes: how many pages each node fetched."""
    members: int = 0
    """How many processes joined its runs."""
    runs: Counter[str] = field(default_factory=Counter)
    second_copies: Counter[str] = field(default_factory=Counter)
    repeated_logins: Counter[str] = field(default_factory=Counter)
    late_requests: Counter[str] = field(default_factory=Counter)


def prove(cluster: Cluster, faults: Sequence[Fault]) -> Counted:
    """All of it. Raises AssertionError."""
    counted = Counted()
    store, site = cluster.store, cluster.site
    stored = {(name, item.key): item.data["value"] for name in cluster.spiders for item in stored_items.present(store, name)}
    with store.read() as connection:
        order = [(row.name, row.message_id) for row in connection.execute(
            select(digests.c.name, messages.c.message_id).join(digests).order_by(messages.c.id))]
        _items_once(connection, cluster)
        _slots_once(connection)
        if not any(fault.kind == "wrong clock" for fault in faults):
            _runs_follow_each_other(connection)
        counted.runs.update(connection.execute(select(runs.c.outcome)).scalars())
        counted.members = len(connection.execute(select(run_members.c.id)).all())
        counted.changes = len(connection.execute(select(changes.c.id)).all())
    shown = {(name, key): value for name in cluster.spiders for key, value in site.shown[name].items()}
    assert stored == shown, f"the store is not what the site shows: {sorted(set(stored.items()) ^ set(shown.items()))}"
    counted.items = len(stored)
    contents = _accepted_once(cluster, faults, counted)
    assert set(contents) == {name for _, name in order}, "a message is missing, or came from nowhere"
    _told_once(order, contents, stored, counted)
    for name in cluster.spiders:
        assert not untold(store, name, [name]), f"runs that digest {name} never told of"
    _files_are_whole(cluster, counted)
    _every_file_is_known(cluster, counted)
    _logged_in_once(cluster, faults, counted)
    _one_run_at_once(cluster, faults, counted)
    return counted


def _items_once(connection: Connection, cluster: Cluster) -> None:
    for name in cluster.spiders:
        keys = connection.execute(select(items.c.key).where(items.c.spider == name)).scalars().all()
        assert len(keys) == len(set(keys)), f"{name}: items are stored twice"
        assert cluster.site.ever[name] <= set(keys), f"{name} never saw {sorted(cluster.site.ever[name] - set(keys))}"


def what_is_left(cluster: Cluster) -> list[str]:
    """Runs that are not ended, digests that are not closed, and leases."""
    found = []
    with cluster.store.read() as connection:
        for table in (runs, downloads, digests, messages):
            held = connection.execute(select(table.c.id).where(table.c.lease_owner != "", table.c.lease_until.is_not(None))).scalars()
            found += [f"a lease on row {row} of {table.name}" for row in held]
        found += [f"member {row} of a run" for row in connection.execute(select(run_members.c.id).where(run_members.c.ended_at.is_(None))).scalars()]
        found += [f"run {row}" for row in connection.execute(select(runs.c.id).where(runs.c.ended_at.is_(None))).scalars()]
        found += [f"digest {row}" for row in connection.execute(select(digests.c.id).where(digests.c.closed_at.is_(None))).scalars()]
    return found


def _slots_once(connection: Connection) -> None:
    taken = connection.execute(select(passes.c.slot_id)).scalars().all()
    assert len(taken) == len(set(taken)), "a slot has two passes"
    keys = connection.execute(select(slots.c.spider, slots.c.key)).all()
    assert len(keys) == len(set(keys)), "a slot was claimed twice"


def _runs_follow_each_other(connection: Connection) -> None:
    """By the times in the database, which are those of the nodes' clocks."""
    rows = connection.execute(select(runs.c.id, runs.c.spider, runs.c.started_at, runs.c.ended_at).where(
        runs.c.started_at.is_not(None)).order_by(runs.c.spider, runs.c.started_at)).all()
    for one, following in itertools.pairwise(rows):
        assert one.spider != following.spider or one.ended_at <= following.started_at, f"run {following.id} began before run {one.id} had ended"


def _excuse(faults: Iterable[Fault], server: str, node: int, since: float, until: float) -> str:
    """The kind of a fault because of which the node may have lost the server's answer or its own note of it; "" if there was none."""
    cuts = {f"cut off from the {other}" for other in ("site", "mail", "storage")} - {f"cut off from the {server}"}
    return next((fault.kind for fault in faults if fault.touches(node, since, until)
                 and fault.kind not in cuts and not fault.kind.startswith("object store")), "")


def _accepted_once(cluster: Cluster, faults: Sequence[Fault], counted: Counted) -> dict[str, bytes]:
    """By Message-ID what it said; every second copy to one recipient has its excuse."""
    contents: dict[str, bytes] = {}
    accepted: dict[tuple[str, str], Received] = {}
    for one in cluster.mail.received:
        name = str(parsed(one.content)["Message-ID"])
        assert contents.setdefault(name, one.content) == one.content, "a message was sent again, but not the same"
        for recipient in one.recipients:
            first = accepted.get((name, recipient))
            accepted[name, recipient] = one
            counted.copies += 1
            if first is None:
                continue
            excuse = _excuse(faults, "mail", _node(cluster, first.peer), first.at - 0.5, first.at + NOTE_WINDOW_S)
            assert excuse, f"{name} was accepted for {recipient} from {first.peer}, and sent again by {one.peer} {one.at - first.at:.1f} s later"
            counted.second_copies[excuse] += 1
    for name in contents:
        assert {to for of, to in accepted if of == name} == set(TO), f"a recipient of {name} was left out"
    return contents


def _node(cluster: Cluster, peer: str) -> int:
    return node_of(peer) if cluster.private else EVERYWHERE


def _told_once(order: Sequence[tuple[str, str]], contents: dict[str, bytes], stored: dict[tuple[str, str], Any], counted: Counted) -> None:
    last, _ = last_told(order, contents)
    counted.digests = len(order)
    believed = {(digest, key): item["value"] for (digest, key), item in last.items() if item}
    assert believed == stored, f"a change was never told: {sorted(set(believed.items()) ^ set(stored.items()))}"


def _files_are_whole(cluster: Cluster, counted: Counted) -> None:
    store, site = cluster.store, cluster.site
    with store.read() as connection:
        rows = connection.execute(select(download_files).where(download_files.c.doomed_at.is_(None)).order_by(download_files.c.id)).all()
    newest: dict[str, str] = {}
    for row in rows:
        found = hashlib.sha256(store.files.local(row.key).read_bytes()).hexdigest()
        assert found == row.sha256, f"{row.key} is not what was recorded"
        newest[row.url] = found
    counted.files = len(rows)
    for name in cluster.spiders:
        for number in range(FILES):
            served, url = site.versions(name, number), f"{site.site.url}/{name}/f{number}"
            kept = [row.sha256 for row in rows if row.url == url]
            assert set(kept) <= set(served), f"{url}: a file of bytes that nobody served"
            assert all(one != other for one, other in itertools.pairwise(kept)), f"{url}: one version is stored twice"
            assert newest[url] == served[-1], f"{url}: its newest version is missing"


def _every_file_is_known(cluster: Cluster, counted: Counted) -> None:
    """No object, and no file of a node, belongs to nothing, or was only on the way."""
    with cluster.store.read() as connection:
        known = {str(key) for table in (download_files.c.key, messages.c.file_key) for key in connection.execute(select(table)).scalars()}
        known |= {f"logs/runs/{number}.log" for number in connection.execute(select(runs.c.id)).scalars()}
        known |= {f"logs/digests/{number}.log" for number in connection.execute(select(digests.c.id)).scalars()}
    known |= {key.removesuffix(".eml") + ".html" for key in known if key.endswith(".eml")}
    unknown: list[str] = []
    if cluster.s3 is not None:
        objects = [key.removeprefix("pipeline/") for key in cluster.s3.objects()]
        counted.objects = len(objects)
        unrecorded = [key for key in objects if _without_member(key) not in known and not _ALWAYS.fullmatch(key)]
        counted.unrecorded_objects = sum(key.startswith("downloads/") for key in unrecorded)  # a later run deletes them after a day
        unknown = [f"object {key}" for key in unrecorded if not key.startswith("downloads/")]
        known = {key for key in known if key.startswith("logs/")}
    for data in {node.folder / "var" if cluster.s3 is not None else cluster.folder / "shared" for node in cluster.nodes}:
        unknown += [f"{data.parent.name}: {key}" for path in data.rglob("*") if not path.is_dir()
                    if _without_member(key := path.relative_to(data).as_posix()) not in known and not _ALWAYS.fullmatch(key)]
    counted.parts_of_killed_processes = sum(bool(_PART.search(key)) for key in unknown)  # the next run of the spider on this node deletes them
    unknown = [key for key in unknown if not _PART.search(key)]
    assert not unknown, f"files that belong to nothing: {sorted(unknown)}"


def _without_member(key: str) -> str:
    """The key of a run's log, for the log of a process that joined the run."""
    return re.sub(r"^(logs/runs/\d+)-[0-9a-f]+", r"\1", key)


_PART = re.compile(r": downloads/./\.parts/[\w-]+\.part$")
_ALWAYS = re.compile(r"database-id|heartbeat-token|clock|serve\.lock|jars/.+|hosts/.+|cache/.+|pages/login-.\.html|\.settings/.*")


def _logged_in_once(cluster: Cluster, faults: Sequence[Fault], counted: Counted) -> None:
    """A login although the session was still valid is excused only if a fault hit the node that had logged in."""
    counted.logins, counted.session_ends = len(cluster.site.logins), sum(cluster.site.session_ends.values())
    for login in cluster.site.logins:
        if login.needless:
            excuse = _excuse(faults, "site", _node(cluster, login.before_peer), login.before_at - 0.5, login.before_at + LOGIN_WINDOW_S)
            assert excuse, (f"{login.spider}: {login.peer} logged in {login.at - login.before_at:.1f} s after {login.before_peer}, "
                            "whose session was still valid")
            counted.repeated_logins[excuse] += 1


def _one_run_at_once(cluster: Cluster, faults: Sequence[Fault], counted: Counted) -> None:
    """Once a run of a spider has asked for a page, no earlier run of the spider asks for another."""
    counted.requests = len(cluster.site.requests)
    counted.pages_of_nodes.update(f"n{_node(cluster, each.peer)}" for each in cluster.site.requests if each.spider == SHARED)
    for name in cluster.spiders:
        newest: Request | None = None
        for request in sorted((each for each in cluster.site.requests if each.spider == name and each.run), key=lambda each: each.at):
            if newest is None or request.run >= newest.run:
                newest = request
                continue
            first = next(each for each in cluster.site.requests if each.spider == name and each.run > request.run)
            node = _node(cluster, request.peer)
            frozen = [fault for fault in faults if fault.kind.startswith("SIGSTOP") and fault.node == node
                      and fault.ended is not None and fault.ended <= request.at + 0.5 <= fault.ended + 1.5]
            assert frozen, (f"{name}: run {request.run} on {request.peer} asked for {request.path} {request.at - first.at:.2f} s after run "
                            f"{first.run} on {first.peer} had begun")
            counted.late_requests[frozen[0].kind] += 1
