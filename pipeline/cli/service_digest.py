"""`pipeline digest --send` while a service is up.

The service builds and delivers the digest, and the command shows what it did.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import PurePosixPath

from pipeline.cli.nothing_new import nothing_new
from pipeline.cli.running_service import RunningService
from pipeline.errors import HeartbeatError, MailError, PipelineError
from pipeline.mail.outbox import DeliveryAttempt
from pipeline.model import MessageState, Rebuild
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.mail import outbox
from pipeline.store.mail.digest_progress import DigestProgress, progress_of

LOOK_EVERY_S = 0.2
LOOK_FOR_SERVICE_S = 2.0
ATTEMPT_S = 60.0
"""How long to wait for the first attempt to deliver a message: with `per_hour`, it may come hours later."""


def send_by_service(service: RunningService, store: Store, settings: Settings, name: str, *, say: Callable[[str], None]) -> int:
    """Ask the service to build and deliver a digest, print what it does as `deliveries.send_digest` does, and return the exit code."""
    first = service.send_digest(name)
    if first is None:
        say(f"{name}: no ended runs to report")
        return 0
    wanted, code = [first], 0
    for digest_id in wanted:  # grows by the digests that are built again
        built = _wait_until_built(service, store, name, digest_id)
        _say_built(store, name, digest_id, built, say)
        for number in built.message_ids:
            _wait_for_attempt(store, number)
            wanted += [each for each in _again(store, first) if each not in wanted]
            again = next((each for each in wanted if each > digest_id), None)
            attempt = attempt_of(store, number, progress.rebuild if again is not None and (progress := progress_of(store, again)) is not None else None)
            say(attempt.line(settings.zone) if attempt is not None else f"message {number}: waits for its delivery; `pipeline outbox` shows it")
            is_done = attempt is None or attempt.state is MessageState.SENT or attempt.rebuild is not None
            code = code if is_done else MailError.exit_code
    return code


def _again(store: Store, digest_id: int) -> list[int]:
    found = progress_of(store, digest_id)
    return found.again if found is not None else []


def attempt_of(store: Store, number: int, rebuild: Rebuild | None) -> DeliveryAttempt | None:
    """Return the last attempt to deliver a message; None if there was none. rebuild: of the digest that is built again for it, if it was refused."""
    found = outbox.get(store, number)
    if found is None or not found[2]:
        return None
    message, results, attempts = found
    accepted, waiting = (sum(getattr(result, name) for result in results) for name in ("accepted", "retry"))
    return DeliveryAttempt(message, message.state, tuple(results), attempts[-1][2] if message.state is not MessageState.SENT else "", unreachable=False,
                           next_attempt_at=message.next_attempt_at, accepted=accepted, refused=len(results) - accepted - waiting, waiting=waiting,
                           rebuild=rebuild if message.state is MessageState.DROPPED or len(results) > accepted + waiting else None)


def _wait_until_built(service: RunningService, store: Store, name: str, digest_id: int) -> DigestProgress:
    """Wait until the messages of a digest are in the outbox. Raises PipelineError if it could not be rendered."""
    look_at = time.monotonic() + LOOK_FOR_SERVICE_S
    while True:
        found = progress_of(store, digest_id)
        if found is None:
            raise HeartbeatError(f"the digest {digest_id} is not in the database of these settings", where=f"digests.{name}", fix="check [pipeline] database")
        if found.closed:
            return found
        if found.error:
            raise PipelineError(f"the digest could not be built, and the service tries it again: {found.error}", where=f"digests.{name}")
        if time.monotonic() > look_at:
            look_at = time.monotonic() + LOOK_FOR_SERVICE_S
            if not store.shared and not service.is_up():
                raise HeartbeatError("the service has ended before it built the digest", where=f"digests.{name}",
                                     fix="the next `pipeline serve` builds and sends it, and so does `pipeline digest --send`")
        time.sleep(LOOK_EVERY_S)


def _wait_for_attempt(store: Store, number: int) -> None:
    deadline = time.monotonic() + ATTEMPT_S
    while time.monotonic() < deadline:
        found = outbox.get(store, number)
        if found is None or found[2]:
            return
        time.sleep(LOOK_EVERY_S)


def _say_built(store: Store, name: str, digest_id: int, built: DigestProgress, say: Callable[[str], None]) -> None:
    """Print the subject of a built digest, why it shows less, and where to see its mails. Channels get the same digest as short texts."""
    mails = [found[0] for number in built.message_ids if (found := outbox.get(store, number)) is not None]
    if not mails:
        say(nothing_new(store, name, digest_id))
        return
    say(f"{name}: {'built again: ' if built.rebuild is not None else ''}{mails[0].subject}")
    if built.error:
        say(f"the digest shows less than usual, because it could not be rendered completely: {built.error}")
    for key in dict.fromkeys(str(PurePosixPath(mail.file_key).with_suffix(".html")) for mail in mails if not mail.channel):
        if store.files.exists(key) and built.rebuild is None:
            say(f"to see the mail, open {store.files.local(key)} in a browser")
