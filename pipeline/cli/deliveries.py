"""Build a digest and deliver due messages in the foreground, or send a test message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TextIO

from pipeline.cli.nothing_new import nothing_new
from pipeline.errors import MailError, UsageError
from pipeline.languages import wording
from pipeline.mail import test_message
from pipeline.mail.channels.from_settings import channels_of, open_channel
from pipeline.mail.channels.text import ChannelText
from pipeline.mail.digests import build as mail_digest
from pipeline.mail.outbox import DeliveryHooks, RetryPolicy, deliver_due
from pipeline.mail.transports import open_transport
from pipeline.model import Again, DigestClaim, MessageState
from pipeline.session.picture_fetcher import PictureFetcher
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.mail import digests, outbox
from pipeline.store.maintenance.clock_trust import ClockTrust
from pipeline.store.runs import runs


def utc_now() -> datetime:
    return datetime.now(UTC)


def send_digest(store: Store, settings: Settings, name: str, *, say: Callable[[str], None]) -> int:
    """Build and deliver a digest of all runs that the digest has not reported yet; return the exit code.

    If a process was killed while it built an earlier digest of this name, the earlier digest is built and sent first. The runs that
    the earlier digest does not report are reported in a second digest. say: function that is called with each line to print.
    """
    runs.abandon_expired(store, now=utc_now())  # frees claims that a killed process still holds
    owner = f"{store.owner}:digest"
    last_claim = built_messages = 0
    while (claim := digests.claim(store, name, settings.digests[name].spiders, f"manual {utc_now().isoformat()}",
                                   owner=owner, now=utc_now())) is not None:
        last_claim = claim.id
        built = _build(store, settings, claim, owner)
        built_messages += len(built.message_ids)
        _say_built(store, name, built, say)
    if not built_messages:
        say(nothing_new(store, name, last_claim) if last_claim else f"{name}: no ended runs to report")
        return 0
    return deliver_now(store, settings, say=say)


def send_again(store: Store, settings: Settings, name: str, *, since: datetime | None, recipients: Sequence[str],
               say: Callable[[str], None]) -> int:
    """Report runs again that a digest has already reported, and deliver the mails; return the exit code.

    What the digest has not reported yet stays unreported. If this process is killed while it builds the digest, the service builds and sends
    it. since: report the runs that ended at this time or later; None sends the last digest again. recipients: bare addresses of the only
    recipients; empty for all. say: function that is called with each line to print.

    Raises UsageError if there is nothing that could be sent again.
    """
    owner, now = f"{store.owner}:digest", utc_now()
    if since is None:
        last = digests.last_sent(store, name)
        if last is None:
            raise UsageError(f"no sent digest of this name is stored: {name}", where="digest --again",
                             fix="list what was sent with `pipeline outbox list --sent`, or report earlier runs with --send --since")
        run_ids = last[1]
    else:
        run_ids = tuple(digests.ended_since(store, settings.digests[name].spiders, since))
    if not digests.runs_of(store, run_ids):
        raise UsageError("there are no ended runs to report: the last digest had none, or retention has deleted them" if since is None else
                         f"no run of the digest's spiders has ended since {since:%Y-%m-%d %H:%M} UTC", where="digest")
    claim = digests.claim_again(store, name, Again(run_ids, tuple(recipients)), owner=owner, now=now)
    built = _build(store, settings, claim, owner)
    _say_built(store, name, built, say)
    if not built.message_ids:
        say(f"{name}: there is nothing to report to {', '.join(recipients) or 'the recipients'} about these runs")
        return 0
    return deliver_now(store, settings, say=say)


def _build(store: Store, settings: Settings, claim: DigestClaim, owner: str) -> mail_digest.BuiltDigest:
    return mail_digest.build(store, settings, claim, owner=owner, now=utc_now(), fetch_pictures=PictureFetcher(store, settings))


def _say_built(store: Store, name: str, built: mail_digest.BuiltDigest, say: Callable[[str], None]) -> None:
    if built.message_ids:
        say(f"{name}: {built.subject}")
    if built.problem:
        say(f"the digest shows less than usual, because it could not be rendered completely: {built.problem}")
    for key in built.html_keys:
        say(f"to see the mail, open {store.files.local(key)} in a browser")


def deliver_now(store: Store, settings: Settings, *, say: Callable[[str], None]) -> int:
    """Deliver the messages of the outbox that are due; return the exit code.

    The exit code is 0 if all messages were accepted, otherwise 7 (the exit code of MailError). say: function that is called with each
    line to print.
    """
    runs.abandon_expired(store, now=utc_now())  # frees messages that a killed process still holds
    transport = open_transport(settings, settings.data_dir)
    try:
        policy = RetryPolicy(settings.mail.max_age, settings.mail.max_attempts, settings.mail.per_hour,
                             lambda now: not ClockTrust(store).doubt(now))
        hooks = DeliveryHooks(on_attempt=lambda attempt: say(attempt.line(settings.zone)))
        attempts = []
        while True:
            attempts += deliver_due(store, transport, owner=f"{store.owner}:outbox", now=utc_now, policy=policy, hooks=hooks)
            if not _built_again(store, settings, say):
                break
    finally:
        transport.close()
    for channel in outbox.waiting_channels(store):
        with contextlib.closing(open_channel(lambda: settings, channel)) as opened:
            attempts += deliver_due(store, opened, owner=f"{store.owner}:outbox", now=utc_now, policy=replace(policy, per_hour=None), channel=channel, hooks=hooks)
    return 0 if all(attempt.state is MessageState.SENT or attempt.rebuild is not None for attempt in attempts) else 7


def _built_again(store: Store, settings: Settings, say: Callable[[str], None]) -> bool:
    """Build the digests again of which a message was refused for its size or its content; return whether there were any."""
    owner, found = f"{store.owner}:digest", False
    while (claim := digests.claim_rebuild(store, owner=owner, now=utc_now())) is not None:
        built = _build(store, settings, claim, owner)
        say(f"{claim.name}: built again: {built.subject or 'the recipients are no longer in the settings'}")
        found = True
    return found


def send_test(settings: Settings, address: str, *, dialogue: TextIO | None) -> str:
    """Send a test message, and return the transport's description of the delivery. Raises MailError.

    dialogue: the stream to which the SMTP dialogue is written; None means that the dialogue is not written.
    """
    result, receipt = test_message.send_test(settings, settings.data_dir, address, now=utc_now(), dialogue=dialogue)
    if not result.accepted:
        raise MailError(f"the mail server refused the recipient: {result.code} {result.text}", where=address, fix="check the address")
    return receipt


def send_test_texts(settings: Settings, table: str, *, say: Callable[[str], None]) -> int:
    """Send a test text to each notification channel; return the exit code: 0 if all services accepted it, otherwise 7.

    table: "alerts" or "digests.NAME", whose channels are tested; "" for all channels. say: function that is called with each line to
    print.
    """
    refused = tested = 0
    for own, secret in channels_of(settings):
        if table and own != table and not own.startswith(f"{table}.groups."):
            continue
        name = own.split(".")[1] if own != "alerts" else own
        words = wording(settings.digests[name].language if own != "alerts" else settings.alerts.language)
        text = ChannelText.of(words.test_subject, [words.test_text.format(name=name)], total=1, more=words.more)
        tested += 1
        with contextlib.closing(open_channel(lambda: settings, secret.reference)) as channel:
            try:
                say(f"{own}: {secret.reference}: delivered, accepted by {channel.send(text)}")
            except MailError as error:
                refused += 1
                say(f"{own}: {error}")
    if not tested:
        say(f"{f'[{table}]' if table else settings.file} has no channels; add `notify = [{{ env = \"SLACK_URL\" }}]` to a digest or to [alerts]")
    return 7 if refused else 0
