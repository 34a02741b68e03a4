"""Requests to report runs again, and addresses that were refused for good, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pipeline.model import Again, DraftMessage, MessageState, Outcome, RecipientResult
from pipeline.store import Store
from pipeline.store.health import status_queries
from pipeline.store.mail import digests, outbox, refused_addresses
from pipeline.store.runs import runs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def told(store: Store, count: int = 3) -> tuple[int, list[int]]:
    """A digest of one run with a message for each recipient; the run's id and the ids of the messages."""
    runs.claim_slot(store, "shop", "s", due_at=NOW, reason="schedule", now=NOW)
    run = runs.start_run(store, None, owner="me", now=NOW, limit=9)
    assert run is not None
    runs.end_run(store, run, runs.Ending(Outcome.SUCCEEDED), run.progress, now=NOW)
    claim = digests.claim(store, "d", ["shop"], "first", owner="me", now=NOW)
    assert claim is not None
    drafts = [DraftMessage(f"<{number}@here>", "News", "me@here", (f"{number}@there",), f"messages/{number}.eml", 4) for number in range(count)]
    return run.id, digests.close(store, claim.id, drafts, owner="me", now=NOW)


def answer(store: Store, code: int, *, content: bool = False) -> None:
    message, = outbox.lease(store, owner="me", now=NOW)
    results = [RecipientResult(address, code == 250, code, "", content=content) for address in message.recipients]
    outbox.record(store, message, results, owner="me", now=NOW, next_attempt_at=None)


def test_a_request_claims_no_run_and_is_taken_up_after_a_kill(store: Store) -> None:
    run_id, ids = told(store)
    assert ids == sorted(ids), "in the order of the drafts"
    assert digests.last_sent(store, "d") is None
    answer(store, 250)
    assert digests.last_sent(store, "d") == (NOW, (run_id,))
    request = digests.claim_again(store, "d", Again((run_id,), ("1@there",)), owner="killed", now=NOW)
    later = NOW + timedelta(hours=1)
    assert digests.claim(store, "d", ["shop"], "next", owner="me", now=later) == request
    digests.close(store, request.id, [DraftMessage("<a@here>", "News", "me@here", ("1@there",), "messages/a.eml", 4)], owner="me", now=later)
    assert digests.claim(store, "d", ["shop"], "next", owner="me", now=later) is None
    assert digests.last_sent(store, "d") == (NOW, (run_id,))


def test_a_request_with_the_same_key_is_made_once_also_at_the_same_moment(store: Store) -> None:
    run_id, _ = told(store)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: digests.request_again(store, "d", Again((run_id,)), key="k", now=NOW), range(8)))
    assert [each is not None for each in made].count(True) == 1
    claim = digests.take_oldest(store, max(each or 0 for each in made), owner="me", now=NOW)
    assert claim is not None
    assert (claim.run_ids, claim.slot_key) == ((run_id,), "again k")
    assert digests.request_again(store, "d", Again((run_id,)), key="another", now=NOW) is not None


def test_refused_addresses_are_read_counted_and_marked(store: Store) -> None:
    _, ids = told(store)
    for code in (250, 550, 550):
        answer(store, code)
    with store.read() as connection:
        assert (refused_addresses.count(connection), status_queries.outbox(connection).parked) == (2, 2)
    assert [(each.address, each.message_id) for each in refused_addresses.refused_addresses(store)[1]] == [("2@there", ids[2]), ("1@there", ids[1])]
    assert refused_addresses.mark_seen(store, now=NOW, message_id=ids[1]) == ["1@there"]
    assert refused_addresses.mark_seen(store, now=NOW, address="2@there") == ["2@there"]
    with store.read() as connection:
        assert (refused_addresses.count(connection), status_queries.outbox(connection).parked) == (0, 0)


def test_messages_that_are_refused_for_their_content_wait_for_one_digest(store: Store) -> None:
    run_id, ids = told(store)
    for _ in ids:
        answer(store, 554, content=True)
    assert [message.state for message in outbox.list_messages(store, [*MessageState])] == [MessageState.DROPPED] * 3
    claim = digests.claim_rebuild(store, owner="me", now=NOW)
    assert claim is not None
    assert claim.rebuild is not None
    assert (claim.run_ids, claim.rebuild.recipients) == ((run_id,), ("0@there", "1@there", "2@there"))
    assert digests.claim_rebuild(store, owner="other", now=NOW) is None
