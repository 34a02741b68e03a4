"""Operations on digests: what they are, mute and unmute, and requests to send one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.errors import UsageError
from pipeline.heartbeat.http.operations.service_actions import DigestTime
from pipeline.model import Again
from pipeline.settings import DigestTable, Settings
from pipeline.store import Store
from pipeline.store.ai import requests as model_requests
from pipeline.store.ai.requests import LastFailure
from pipeline.store.console import mail as queries
from pipeline.store.console.mail import OpenClaim
from pipeline.store.mail import digest_mutes, digests

_MODEL_USE_SHOWN = timedelta(days=30)
_AGAIN_SHOWN = timedelta(days=30)
"""How old requests may be that the confirmation page of another request shows."""


@dataclass(frozen=True)
class DigestRow:
    """A digest of the settings. recipients: bare addresses, of its groups, too. channels: number of notification channels.

    times: its schedules; [] if they are not known. muted_until: None if it is not muted. last_sent_at: None if nothing sent is stored.
    """

    name: str
    table: DigestTable
    recipients: tuple[str, ...]
    channels: int
    times: Sequence[DigestTime]
    muted_until: datetime | None
    last_sent_at: datetime | None

    @property
    def next_at(self) -> datetime | None:
        found = [each.next_at for each in self.times if each.next_at is not None]
        return min(found, default=None)


def digest_rows(store: Store, settings: Settings, times: Mapping[str, Sequence[DigestTime]], *, now: datetime, names: Sequence[str] | None = None) -> list[DigestRow]:
    """Return the digests of the settings, sorted by name. names: only these."""
    muted = digest_mutes.muted_until(store, now=now)
    found = []
    for name in sorted(settings.digests if names is None else set(names) & settings.digests.keys()):
        table, last = settings.digests[name], digests.last_sent(store, name)
        found.append(DigestRow(name, table, recipients_of(table), len({secret.reference for each in (table, *table.groups) for secret in each.notify}),
                               times.get(name, ()), muted.get(name), last[0] if last is not None else None))
    return found


def recipients_of(table: DigestTable) -> tuple[str, ...]:
    """Return the bare addresses of the recipients of a digest and of its groups, each once."""
    return tuple(dict.fromkeys(address for each in (table, *table.groups) for address in each.addresses))


@dataclass(frozen=True)
class DigestState:
    """What a digest has yet to do. unreported: how many ended runs it has yet to report. building: its unfinished claims."""

    unreported: int
    building: list[OpenClaim]


def digest_state(store: Store, settings: Settings, name: str) -> DigestState:
    return DigestState(len(digests.untold(store, name, settings.digests[name].spiders)), queries.open_claims(store, name))


@dataclass(frozen=True)
class ModelUse:
    """What a digest has asked the language model in the last 30 days. cost: in `currency`. failure: the last failed request; None if there is none."""

    tokens: int
    requests: int
    failed: int
    cost: float
    currency: str
    failure: LastFailure | None


def model_use(store: Store, settings: Settings, name: str, *, now: datetime) -> ModelUse | None:
    """Return what a digest has asked the language model; None if it asks none."""
    if settings.ai is None or not settings.digests[name].asks_model:
        return None
    since = now - _MODEL_USE_SHOWN
    with store.read() as connection:
        used = model_requests.usage(connection, since, digest=name)
        failure = model_requests.last_failure(connection, since, digest=name)
    cost = settings.ai.cost(used.input_tokens, used.output_tokens)
    return ModelUse(used.tokens, used.requests, used.by_state.get(model_requests.RequestState.FAILED.value, 0), cost, settings.ai.currency, failure)


def mute(store: Store, settings: Settings, name: str, *, until: datetime, now: datetime) -> None:
    """Send nothing of a digest before `until`. Raises UsageError for an unknown digest, or for a time that has passed."""
    check_known(settings, name)
    if until <= now:
        raise UsageError("the mute would end in the past", where="until", fix="give a time that is yet to come")
    digest_mutes.mute(store, name, until=until)


def unmute(store: Store, settings: Settings, name: str) -> bool:
    """End the mute of a digest now; return whether there was one. Raises UsageError for an unknown digest."""
    check_known(settings, name)
    return digest_mutes.unmute(store, name)


def check_known(settings: Settings, name: str) -> None:
    if name not in settings.digests:
        raise UsageError(f"no digest named {name!r}", where="settings.toml: digests")


@dataclass(frozen=True)
class AgainOffer:
    """What can be sent again of a sent message. digest: its name. run_ids: the runs that are reported again.

    recipients: the recipients of the digest in the settings. chosen: those of them who got the message. gone: recipients of the message
    who are no longer in the settings. channels: number of notification channels. before: when the same runs were sent again, and to whom
    (() for everyone).
    """

    digest: str
    run_ids: tuple[int, ...]
    recipients: tuple[str, ...]
    chosen: frozenset[str]
    gone: tuple[str, ...]
    channels: int
    before: list[tuple[datetime, tuple[str, ...]]]


def again_offer(store: Store, settings: Settings, message_id: int, addresses: Sequence[str], digest_id: int | None, *, now: datetime) -> AgainOffer:
    """Return what can be sent again of a message. addresses, digest_id: of the message. Raises UsageError if nothing can."""
    where = f"message {message_id}"
    digest = queries.digest_of(store, digest_id) if digest_id is not None else None
    if digest is None:
        raise UsageError("only a digest can be sent again, and this message belongs to none, or retention has deleted it", where=where)
    if digest.name not in settings.digests:
        raise UsageError(f"the digest {digest.name!r} is no longer in the settings", where=where)
    run_ids = digests.reported_runs(store, digest.id)
    if not digests.runs_of(store, run_ids):
        raise UsageError("retention has deleted the runs that this digest reports", where=where)
    table = settings.digests[digest.name]
    known = recipients_of(table)
    before = [(at, to) for at, ids, to in queries.requested_again(store, digest.name, now - _AGAIN_SHOWN) if ids == run_ids]
    mails = [each for each in addresses if "@" in each]  # not the reference of a notification channel
    return AgainOffer(digest.name, run_ids, known, frozenset(mails) & frozenset(known), tuple(each for each in mails if each not in known),
                      len({secret.reference for each in (table, *table.groups) for secret in each.notify}), before)


def send_again(store: Store, offer: AgainOffer, chosen: Sequence[str] | None, *, key: str, now: datetime) -> int | None:
    """Request a digest again; return the id of its claim, or None if there was a request with the same key.

    chosen: the only recipients; None means everyone, and the notification channels. Raises UsageError for no or an unknown recipient.
    """
    if chosen is not None and not chosen:
        raise UsageError("no recipient is chosen", where=f"digests.{offer.digest}", fix="choose at least one")
    for address in chosen or ():
        if address not in offer.recipients:
            raise UsageError(f"{address} is not a recipient of the digest {offer.digest}", where=f"digests.{offer.digest}")
    return digests.request_again(store, offer.digest, Again(offer.run_ids, tuple(chosen or ())), key=key, now=now)
