"""Host limits that nodes share through PostgreSQL: who gets which permit, and what expires."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text

from pipeline.session.politeness.database_limits import DatabaseLimits
from pipeline.session.politeness.host_limits import HostBudget, host_limits_of
from pipeline.store import Store, open_store
from pipeline.store.runs import host_limits as table
from pipeline.store.runs.host_limits import HostUse, Wish, grant
from tests.servers.postgres import Postgres
from tests.session.politeness import torture

URL = "http://a.example/"
HOST = "a.example:80"


@pytest.fixture
def store(postgres: Postgres, migrated: str, tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path, postgres.new_database(migrated))) as opened:
        yield opened


@pytest.mark.parametrize(("permits", "waiting", "wish", "given", "must_wait"), [
    ({}, [], Wish("h", 4, 4), [0, 1, 2, 3], False),  # nobody else: everything
    ({0: "a", 1: "a"}, [], Wish("h", 4, 4), [2, 3], False),
    ({0: "a", 1: "a", 2: "a", 3: "a"}, [], Wish("h", 4, 4), [], True),
    ({0: "a", 1: "a", 2: "me"}, ["b"], Wish("h", 4, 4), [], False),  # the last one is for b
    ({0: "a", 1: "a", 2: "me"}, ["b"], Wish("h", 4, 4, starving=True), [], True),
    ({0: "a", 2: "me"}, ["me", "b"], Wish("h", 4, 4, starving=True), [1, 3], True),
    ({0: "a", 1: "a"}, ["b", "me"], Wish("h", 4, 4), [3], False),  # one for b, one is the share
    ({}, ["b"], Wish("h", 8, 8), [4, 5, 6, 7], False),  # b may have a smaller `concurrency`, and use only the lowest
    ({0: "a"}, ["b", "me"], Wish("h", 1, 1), [], True),
    ({}, ["b", "me"], Wish("h", 1, 1), [], True),
    ({}, ["me", "b"], Wish("h", 1, 1), [0], False),
    ({}, ["b"], Wish("h", 1, 1), [], True),
    ({}, [], Wish("h", 3, 3, lowest=1), [1, 2], True),  # a download leaves permit 0 to pages
    ({5: "a"}, [], Wish("h", 2, 2), [0, 1], False)])  # of a spider with a larger `concurrency`
def test_a_process_gets_its_share_and_those_that_wait_longer_come_first(permits: dict[int, str], waiting: list[str], wish: Wish,
                                                                       given: list[int], must_wait: bool) -> None:
    assert grant(wish, HostUse(permits, waiting), "me") == (given, must_wait)


@pytest.mark.needs("postgres")
def test_permits_of_a_killed_process_expire_and_those_of_one_that_lives_are_renewed(store: Store) -> None:
    with store.autocommit() as connection:
        assert table.lease(connection, "killed", [(HOST, 0), (HOST, 1)]) == {(HOST, 0), (HOST, 1)}
        assert table.lease(connection, "me", [(HOST, 1), (HOST, 2)]) == {(HOST, 2)}
        later(connection, "host_permits", "until", "owner = 'killed'", -20)
        assert table.look(connection, [HOST])[HOST] == HostUse({2: "me"})
        assert table.lease(connection, "me", [(HOST, 0)]) == {(HOST, 0)}
        assert table.renew(connection, "killed")[HOST].numbers == {1}  # it was only suspended, and nobody took this one
        assert table.renew(connection, "me")[HOST] == table.Renewed(frozenset({0, 2}), False, 1)
        later(connection, "host_permits", "until", "number = 0", 3600)  # the clock of the database was set back
        assert table.lease(connection, "killed", [(HOST, 0)]) == {(HOST, 0)}
        later(connection, "host_permits", "until", "number = 0", -7200)
        table.delete_expired(connection)
        assert connection.execute(text("SELECT array_agg(number ORDER BY number) FROM host_permits")).scalar() == [1, 2]


def later(connection, table_name: str, column: str, where: str, seconds: int) -> None:
    connection.execute(text(f"UPDATE {table_name} SET {column} = {column} + {seconds * 1_000_000} WHERE {where}"))


@pytest.mark.needs("postgres")
def test_turns_follow_each_other_and_a_time_after_the_clock_was_set_back_is_ignored(store: Store) -> None:
    with store.autocommit() as connection:
        assert table.reserve_turns(connection, {HOST: (3, 10.0), "b:1": (1, 10.0)}) == {HOST: 0.0, "b:1": 0.0}
        found = table.reserve_turns(connection, {HOST: (1, 10.0), "b:1": (1, 5.0)})
        assert 20 < found[HOST] < 30
        assert 0 < found["b:1"] < 10
        later(connection, "host_turns", "free_at", "host = 'b:1'", 100_000)
        assert table.reserve_turns(connection, {"b:1": (1, 1.0)}) == {"b:1": 0.0}


@pytest.mark.needs("postgres")
def test_a_request_costs_no_query_as_long_as_the_process_has_a_permit(store: Store) -> None:
    queries: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda connection, cursor, statement, *more: queries.append(statement))

    async def visit(budget: HostBudget) -> None:
        for _ in range(500):
            async with budget.turn(URL):
                pass
    limits = host_limits_of(store)
    assert isinstance(limits, DatabaseLimits)
    asyncio.run(visit(HostBudget(limits, concurrency=2)))
    with store.autocommit() as connection:
        assert connection.execute(text("SELECT count(*) FROM host_permits")).scalar() == 1
    limits.release()
    with store.autocommit() as connection:
        assert connection.execute(text("SELECT count(*) FROM host_permits")).scalar() == 0
    assert len(queries) < 50


@pytest.mark.needs("postgres")
def test_processes_on_two_nodes_never_exceed_the_limits(postgres: Postgres, migrated: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert torture.main(["--processes", "2", "--concurrency", "2", "--delay", "0.02", "--answer", "0.05", "--seconds", "1", "--kill"], postgres, migrated) == 0
    assert "limits kept" in capsys.readouterr().out
