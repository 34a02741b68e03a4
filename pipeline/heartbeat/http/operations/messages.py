"""What a person sees of messages.

Lists with recipients and attachments, one message with its body, and what to do about its trouble.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from threading import Lock
from typing import Literal

from pipeline.errors import StoreError
from pipeline.heartbeat.http.operations.message_file import (
    BODY_BYTES,
    AttachedFile,
    attachments_of,
    body_of,
    chunks_of,
)
from pipeline.model import REBUILD_STEPS, Message, MessageState, RecipientResult
from pipeline.store import Store
from pipeline.store.console import mail as queries
from pipeline.store.console.mail import DigestOfMessage, ListedMessage
from pipeline.store.mail import outbox

SHOWN_RECIPIENTS = 500
"""Maximum number of recipients on the page of a message."""
_LIST_S = 0.25
"""For how long the files of the messages of a list are searched for attachments."""
_REMEMBERED = 2000
_LOGIN = re.compile(r"\b53[045]\b|not accepted by the server|authentication", re.IGNORECASE)
_ADDRESS = re.compile(r"\b5\.1\.\d|no such|unknown|does not exist|not exist", re.IGNORECASE)

Trouble = Literal["", "login", "address", "content", "other"]


@dataclass(frozen=True)
class MessagePage:
    """One message. digest: None for an alert or a test, or if retention has deleted the digest. attachments: None if the file is not stored.

    recipients: at most SHOWN_RECIPIENTS, those that have not accepted the message first. recipient_count: of all. deliveries: the time, the
    number and the error of each attempt. trouble: why it was not accepted. rebuilt_with: what the digest would be built again with; "" if nothing less
    is possible.
    """

    message: Message
    digest: DigestOfMessage | None
    recipients: list[RecipientResult]
    recipient_count: int
    deliveries: list[tuple[datetime, int, str]]
    attachments: list[AttachedFile] | None
    trouble: Trouble
    rebuilt_with: str
    missing: int
    """How many recipients have not got it."""


def message_page(store: Store, number: int) -> MessagePage | None:
    """Return the content of the page of a message; None if there is no such message."""
    found = outbox.get(store, number)
    if found is None:
        return None
    message, recipients, deliveries = found
    ordered = sorted(recipients, key=lambda each: (each.accepted, each.retry, each.address))
    step = queries.next_rebuild_step(store, number)
    return MessagePage(
        message, queries.digest_of(store, message.digest_id) if message.digest_id is not None else None, ordered[:SHOWN_RECIPIENTS], len(ordered), deliveries,
        attached_files(store, message.file_key), trouble_of(message, recipients), REBUILD_STEPS[step] if step is not None else "",
        sum(not each.accepted for each in recipients))


def trouble_of(message: Message, recipients: Sequence[RecipientResult]) -> Trouble:
    """Return why a message was not accepted, as far as the replies of the server say it (RFC 5321, 4.2.3; RFC 3463, 3)."""
    refused = [each for each in recipients if not each.accepted and each.code >= 500]
    if message.state not in (MessageState.PARKED, MessageState.WAITING):
        return "address" if message.state is MessageState.SENT and refused else ""
    if any(each.code in (530, 534, 535) for each in refused) or (message.last_error and _LOGIN.search(message.last_error)):
        return "login"
    if refused and all(_ADDRESS.search(each.text) or each.code in (551, 553) for each in refused):
        return "address"
    if any(each.code in (523, 552, 554) or " 5.7." in f" {each.text}" or " 5.3.4" in f" {each.text}" for each in refused):
        return "content"
    if refused and all(each.code == 550 for each in refused):
        return "address"
    return "other" if refused or message.last_error else ""


def body(store: Store, number: int, mask: Callable[[str], str]) -> tuple[str, str] | None:
    """Return the body of a message as it was sent, masked, and its media type: text/html or text/plain.

    Returns None if there is no message with this number, or if its file was deleted. Raises StoreError.
    """
    found = outbox.get(store, number)
    if found is None or not found[0].file_key:
        return None
    key = found[0].file_key
    html = str(PurePosixPath(key).with_suffix(".html"))
    with suppress(FileNotFoundError), store.files.quick.local(html).open("rb") as file:
        return mask(file.read(BODY_BYTES).decode("utf-8", "replace")), "text/html"
    try:
        shown = body_of(store.files.quick.local(key))
    except FileNotFoundError:
        return None
    return (mask(shown[0]), shown[1]) if shown is not None else None


def attached_files(store: Store, key: str) -> list[AttachedFile] | None:
    """Return the files attached to the message with this file; None if it is not stored. Raises StoreError."""
    try:
        return attachments_of(store.files.quick.local(key)) if key else None
    except FileNotFoundError:
        return None


def attachment(store: Store, number: int, place: int) -> tuple[AttachedFile, Iterator[bytes]] | None:
    """Return an attachment of a message, and its content in pieces; None if there is none. place: its number, counted from 1."""
    found = outbox.get(store, number)
    files = attached_files(store, found[0].file_key) if found is not None else None
    if found is None or files is None or not 1 <= place <= len(files):
        return None
    return files[place - 1], chunks_of(store.files.quick.local(found[0].file_key), files[place - 1])


class AttachmentNames:
    """The names of the attachments of messages of a list, which are remembered, because a message file never changes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = Lock()

    def of(self, store: Store, listed: Sequence[ListedMessage]) -> dict[int, tuple[str, ...] | None]:
        """Return the names of the attachments of each message; None if they are unknown: the file was deleted, or reading all takes too long.

        Files in an object store are not read for a list.
        """
        ends = self._clock() + _LIST_S
        return {message.id: self._of(store, message.file_key, ends) for message in listed}

    def _of(self, store: Store, key: str, ends: float) -> tuple[str, ...] | None:
        with self._lock:
            if key in self._names:
                return self._names[key]
        if store.files.is_remote or self._clock() > ends:
            return None
        try:
            files = attached_files(store, key)
        except StoreError:
            return None
        if files is None:
            return None
        names = tuple(file.name for file in files)
        with self._lock:
            self._names[key] = names
            if len(self._names) > _REMEMBERED:
                self._names.popitem(last=False)
        return names
