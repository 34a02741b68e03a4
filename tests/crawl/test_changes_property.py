"""Stored items and reported changes equal the site's history, whatever happens to runs (hypothesis)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.model import ChangeKind, Item, Outcome, Page, Progress, Run
from pipeline.store import Store, open_store
from pipeline.store.crawl import items
from pipeline.store.crawl.commit import commit_pages
from pipeline.store.crawl.compare import Comparison
from pipeline.store.runs import runs
from pipeline.store.runs.leases import TTL
from pipeline.store.runs.runs import Ending
from tests.crawl.torture import torture

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = "abcde"
FILE_NAME = "pipeline.sqlite3"

site_states = st.dictionaries(st.sampled_from(KEYS), st.fixed_dictionaries({
    "price": st.sampled_from([100, 102, 104, 110, 90, None]), "title": st.sampled_from("xy"),
    "views": st.integers(0, 3)}), max_size=len(KEYS))
fates = st.sampled_from(["complete", "complete", "complete", "fails", "capped", "killed", "killed twice", "stopped"])
steps = st.tuples(site_states, fates, st.integers(0, len(KEYS)), st.integers(1, 3))
"""What the site is, what becomes of the run, after how many items, and how many items are on a page."""


@cache
def _empty_database() -> bytes:
    """A database with the tables: copying it is faster than making them for each example."""
    with TemporaryDirectory() as folder:
        open_store(Path(folder)).close()
        return (Path(folder) / FILE_NAME).read_bytes()


@contextmanager
def a_store() -> Iterator[Store]:
    with TemporaryDirectory() as folder:
        (Path(folder) / FILE_NAME).write_bytes(_empty_database())
        store = open_store(Path(folder))
        try:
            yield store
        finally:
            store.close()


class World:
    """One spider on one store, and the changes that it should have reported."""

    def __init__(self, store: Store, comparison: Comparison) -> None:
        self.store = store
        self.comparison = comparison
        self.now = START
        self.slots = itertools.count()
        self.told: dict[str, dict[str, Any]] = {}  # the items, by the changes reported so far
        self.stored: dict[str, dict[str, Any]] = {}

    def run(self, state: dict[str, dict[str, Any]], fate: str, fetched: int, page_size: int) -> None:
        seen: set[str] = set()  # by this pass
        run = self._begin()
        for _ in range({"killed": 1, "killed twice": 2}.get(fate, 0)):
            self._commit(run, dict(list(state.items())[:fetched]), page_size, seen)
            self.now += 2 * TTL
            assert [lost.id for lost in runs.abandon_expired(self.store, now=self.now)] == [run.id]
            run = self._take_up()
        if fate in ("fails", "capped", "stopped"):
            self._commit(run, dict(list(state.items())[:fetched]), page_size, seen)
            outcome = Outcome.SUCCEEDED if fate == "capped" else Outcome.STOPPED if fate == "stopped" else Outcome.FAILED
            runs.end_run(self.store, run, Ending(outcome, "cut short", keep_open=fate == "stopped"), Progress(),
                         now=self.now)
            if fate != "stopped":
                return
            runs.resume_stopped(self.store, now=self.now)
            run = self._take_up()
        self._commit(run, state, page_size, seen)
        ended = runs.end_run(self.store, run, Ending(Outcome.SUCCEEDED, complete=True), Progress(), now=self.now)
        suspect = self._is_suspect(seen, state)
        assert ended.suspect == suspect
        if not suspect:
            for key in set(self.stored) - seen:
                del self.stored[key]

    def _is_suspect(self, seen: set[str], state: dict[str, dict[str, Any]]) -> bool:
        coverage = {name: sum(state[key][name] is not None for key in seen) for name in ("price", "title", "views")}
        if not seen:
            return bool(self.stored)
        before, self.coverage = getattr(self, "coverage", ({}, 0)), (coverage, len(seen))
        return any(count and count == before[1] and not coverage[name] for name, count in before[0].items())

    def _begin(self) -> Run:
        self.now += timedelta(hours=1)
        runs.claim_slot(self.store, "s", f"slot {next(self.slots)}", due_at=self.now, reason="manual", now=self.now)
        return self._take_up()

    def _take_up(self) -> Run:
        run = runs.start_run(self.store, None, owner="another-machine:1:boot:x", now=self.now, limit=9)
        assert run is not None
        return run

    def _commit(self, run: Run, state: dict[str, dict[str, Any]], page_size: int, seen: set[str]) -> None:
        found = list(state.items())
        for start in range(0, len(found), page_size):
            page = Page(f"http://site/{start}", 200, self.now, items=tuple(
                Item(key, data) for key, data in found[start:start + page_size]))
            commit_pages(self.store, run, [page], now=self.now, comparison=self.comparison)
        seen |= set(state)
        self.stored |= state

    def read_changes(self) -> None:
        """Apply every reported change, and check that each follows from the state before it."""
        for change in items.changes(self.store, "s"):
            known = self.told.get(change.key)
            if change.kind in (ChangeKind.NEW, ChangeKind.BACK):
                assert known is None
            elif change.kind is ChangeKind.CHANGED:
                assert known is not None
                assert not self.comparison.same(known, change.after)
                assert change.fields, "a change in which nothing changed"
            else:
                assert known is not None
            if change.kind in (ChangeKind.CHANGED, ChangeKind.GONE):
                assert _telling(change.before, self.comparison) == _telling(known, self.comparison)
            assert not set(change.fields) & self.comparison.ignore or change.kind is not ChangeKind.CHANGED
            if change.kind is ChangeKind.GONE:
                del self.told[change.key]
            else:
                self.told[change.key] = change.after


def _telling(data: dict[str, Any] | None, comparison: Comparison) -> dict[str, Any]:
    return {name: value for name, value in (data or {}).items() if name not in comparison.ignore}


def _check(history: list[Any], comparison: Comparison) -> None:
    with a_store() as store:
        world = World(store, comparison)
        for state, fate, fetched, page_size in history:
            world.run(state, fate, fetched, page_size)
        stored = {item.key: item.data for item in items.present(store, "s")}
        assert stored == world.stored  # every field, including the ignored ones
        world.read_changes()
        assert set(world.told) == set(stored)
        for key, told in world.told.items():
            assert comparison.same(told, stored[key]), "a difference that ought to have been told"


_quick = settings(max_examples=15, deadline=None, derandomize=True, database=None,
                  suppress_health_check=[HealthCheck.too_slow])


@_quick
@given(st.lists(steps, max_size=5))
def test_stored_items_and_all_changes_together_equal_the_history_of_the_site(history: list[Any]) -> None:
    _check(history, Comparison())


@_quick
@given(st.lists(steps, max_size=5))
def test_they_equal_the_history_with_ignored_fields_and_a_minimum_change(history: list[Any]) -> None:
    _check(history, Comparison(frozenset({"views"}), {"price": (5, True)}))


def test_they_equal_the_history_with_real_processes_that_are_killed(tmp_path: Path) -> None:
    """A few histories; `make torture` runs hundreds."""
    ends = torture(tmp_path, histories=1, seed=6, steps=2)
    assert ends.total() >= 5


def test_small_steps_add_up_to_a_change() -> None:
    comparison = Comparison(min_change={"price": (5, True)})
    with a_store() as store:
        world = World(store, comparison)
        for price in (100, 102, 104, 106, 106):
            world.run({"a": {"price": price, "title": "x", "views": 0}}, "complete", 0, 1)
        told = [(change.kind.value, change.before.get("price"), change.after.get("price"))
                for change in items.changes(store, "s")]
    assert told == [("new", None, 100), ("changed", 100, 106)]


def test_a_field_that_all_items_had_and_none_has_now_makes_the_run_suspect_once() -> None:
    with a_store() as store:
        world = World(store, Comparison())
        whole = {key: {"price": 1, "title": "x", "views": 0} for key in "ab"}
        bare = {"a": {"price": None, "title": "x", "views": 0}}
        world.run(whole, "complete", 0, 1)
        world.run(bare, "complete", 0, 1)
        assert {item.key for item in items.present(store, "s")} == {"a", "b"}  # nothing is gone
        last = runs.history(store, "s")[0]
        assert (last.suspect, last.error) == (True, "no item has the field 'price', although all 2 items of the previous pass had this field")
        world.run(bare, "complete", 0, 1)
        assert {item.key for item in items.present(store, "s")} == {"a"}


def test_a_pass_without_items_does_not_make_a_missing_field_normal() -> None:
    with a_store() as store:
        world = World(store, Comparison())
        world.run({key: {"price": 1, "title": "x", "views": 0} for key in "ab"}, "complete", 0, 1)
        world.run({}, "complete", 0, 1)
        world.run({"a": {"price": None, "title": "x", "views": 0}}, "complete", 0, 1)
        assert [run.suspect for run in runs.history(store, "s")] == [True, True, False]
        assert {item.key for item in items.present(store, "s")} == {"a", "b"}


def test_a_share_of_items_without_a_field_below_its_coverage_makes_the_run_suspect() -> None:
    with a_store() as store:
        world = World(store, Comparison())
        run = world._begin()
        world._commit(run, {"a": {"price": 1}, "b": {"price": None}, "c": {"price": None}}, 3, set())
        ended = runs.end_run(store, run, Ending(Outcome.SUCCEEDED, complete=True, coverage={"price": 0.5}), Progress(),
                             now=world.now)
        assert (ended.suspect, ended.error) == (True, "only 33% of the items have the field 'price'; the `coverage` setting requires 50%")
