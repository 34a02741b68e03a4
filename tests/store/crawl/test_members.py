"""Members of a run: each has rows of its own, loses them at once, and cannot commit them afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import LeaseLostError
from pipeline.model import FrontierState, Page, Progress, Request, Run
from pipeline.store import Store
from pipeline.store.crawl import commit, frontier, members
from pipeline.store.crawl.members import Member
from pipeline.store.runs import runs

NOW = datetime.now(UTC)
ELSEWHERE = "another-machine:1:boot:x"


def started(store: Store, name: str = "1") -> Run:
    runs.claim_slot(store, "s", name, due_at=NOW, reason="manual", now=NOW)
    run = runs.start_run(store, None, owner=store.owner, now=NOW, limit=9)
    assert run is not None
    return run


def led(store: Store, run: Run, links: int = 10) -> Member:
    requested: list[Run] = []
    leader = members.lead(store, run, b"session", followers=2, request=lambda connection, run: requested.append(run), now=NOW)
    assert requested == [run, run]
    frontier.enqueue(store, run, [Request(f"http://site.example/{number}") for number in range(links)])
    return leader


def joined(store: Store, run: Run, owner: str = ELSEWHERE) -> Member:
    member = members.join(store, run, owner=owner, most=2, now=datetime.now(UTC))
    assert member is not None
    return member


def committed(store: Store, member: Member, row: frontier.Queued, *links: str, report: dict[str, object] | None = None) -> None:
    page = Page(row.request.url, 200, NOW, frontier_id=row.id, links=tuple(map(Request, links)))
    commit.commit_pages(store, member.run, [page], now=NOW, by=commit.MemberCommit(member, report or {}))


def test_members_take_different_rows_and_add_up_what_they_have_committed(store: Store) -> None:
    run = started(store)
    leader = led(store, run)
    other = joined(store, run)
    taken = [members.claim(store, member).rows for member in (leader, other)]
    assert [len(rows) for rows in taken] == [5, 3]
    assert not {row.id for row in taken[0]} & {row.id for row in taken[1]}
    committed(store, leader, taken[0][0], "http://site.example/new")
    committed(store, other, taken[1][0])
    committed(store, other, taken[1][1])
    view = members.look(store, other)
    assert (view.in_progress, view.free, view.held) == (True, True, True)
    assert members.added_up([each.report for each in view.members]) == Progress(pages=3, waiting=-2)
    again = members.claim(store, other, again=[taken[1][2].id]).rows
    assert taken[1][2].id in [row.id for row in again]


def test_a_member_that_is_lost_loses_all_rows_at_once_and_commits_no_page(store: Store) -> None:
    run = started(store)
    leader = led(store, run)
    other = joined(store, run)
    rows = members.claim(store, other).rows
    assert not any(each.lost for each in members.look(store, leader).members)
    assert members.free_lost(store, leader, [other.id], now=datetime.now(UTC)) == []
    assert members.free_lost(store, leader, [leader.id, other.id], now=datetime.now(UTC) + timedelta(minutes=1)) == [other.id]
    with pytest.raises(LeaseLostError):
        committed(store, other, rows[0])
    with pytest.raises(LeaseLostError):
        members.claim(store, other)
    assert not members.renew(store, other, now=NOW)
    assert not members.look(store, other).in_progress
    assert frontier.counts(store, run.pass_id) == {FrontierState.WAITING: 10}
    assert {row.id for row in rows} <= {row.id for row in members.claim(store, leader).rows}


def test_members_commit_nothing_after_their_run_has_ended(store: Store) -> None:
    run = started(store)
    led(store, run)
    other = joined(store, run)
    rows = members.claim(store, other).rows
    committed(store, other, rows[-1])
    ended = runs.end_run(store, run, runs.Ending(runs.Outcome.KILLED, keep_open=True), None, now=NOW)
    assert ended.progress.pages == 1  # not only what the leader has reported
    assert not any(each.at_work for each in members.look(store, other).members)
    with pytest.raises(LeaseLostError):
        committed(store, other, rows[0])
    assert members.join(store, run, owner="me", most=9, now=NOW) is None
    again = started(store, "2")
    assert again.pass_id == run.pass_id
    leader = members.lead(store, again, b"", followers=0, request=lambda connection, run: None, now=NOW)
    assert len(members.claim(store, leader).rows) == 9


def test_a_run_takes_as_many_members_as_it_has_processes(store: Store) -> None:
    run = started(store)
    assert members.join(store, run, owner="me", most=9, now=NOW) is None  # nobody leads the run yet
    led(store, run)
    assert [members.join(store, run, owner=f"node{number}:1", most=2, now=NOW) is not None for number in range(3)] == [True, True, False]


def test_the_members_together_keep_to_max_pages(store: Store) -> None:
    run = started(store)
    leader, other = led(store, run), joined(store, run)
    rows = members.claim(store, other, max_pages=4).rows
    assert len(rows) == 4
    capped = members.claim(store, leader, max_pages=4)
    assert (len(capped.rows), capped.capped, capped.over) == (0, True, False)  # rows of the other member are not fetched yet
    for row in rows:
        committed(store, other, row)
    assert members.claim(store, leader, max_pages=4).over


def test_a_host_that_a_start_was_redirected_to_comes_with_the_rows(store: Store) -> None:
    run = started(store)
    leader, other = led(store, run), joined(store, run)
    committed(store, leader, members.claim(store, leader).rows[0], report={"hosts": ["www.site.example:80"]})
    assert members.claim(store, other).hosts == ["www.site.example:80"]


def test_the_reports_stay_until_the_leader_ends_all_members(store: Store) -> None:
    run = started(store)
    leader, other = led(store, run), joined(store, run)
    members.tell(store, other, {"notes": ["a note"]})
    members.leave(store, other, now=NOW)
    assert members.read_file(store, run, members.SESSION) == b"session"
    found = members.end_all(store, leader, now=NOW)
    assert found == {leader.id: {"leader": True}, other.id: {"notes": ["a note"], "progress": {}}}
    assert members.read_file(store, run, members.SESSION) == b""


@pytest.mark.parametrize(("hosts", "members_", "taken"), [
    (["a"] * 100, 1, [64]),
    (["a"] * 100, 2, [50, 50]),
    (["a"] * 3, 2, [2, 2]),  # the members claim one after the other: the second one finds the rest
    ([], 3, [0, 0, 0]),
    (["a", "b", "c", "d"] * 16, 2, None),
])
def test_rows_of_several_hosts_are_divided_by_host(hosts: list[str], members_: int, taken: list[int] | None) -> None:
    rows = [(number, f"http://{host}.example/{number}") for number, host in enumerate(hosts)]
    found = [members.choose(rows, rank=rank, members=members_) for rank in range(members_)]
    if taken is not None:
        assert [len(each) for each in found] == taken
        return
    of_hosts = [{hosts[row] for row in each} for each in found]
    assert not of_hosts[0] & of_hosts[1]
