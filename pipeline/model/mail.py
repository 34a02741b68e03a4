"""Records of digests and messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class MessageState(StrEnum):
    """The state of a message in the outbox.

    waiting: the mail server has not accepted the message for every recipient yet. sent: the server accepted the message for at least
    one recipient, and refused all others. parked: delivery was given up until a person runs `pipeline outbox retry`. dropped: never
    sent, because a person ran `pipeline outbox drop`, or because its digest is built again with less (see `Rebuild`).
    """

    WAITING = "waiting"
    SENT = "sent"
    PARKED = "parked"
    DROPPED = "dropped"


class RecipientState(StrEnum):
    """The state of one recipient of a message. rebuilt: refused, and the digest is built again for this recipient."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    REBUILT = "rebuilt"


@dataclass(frozen=True)
class Rebuild:
    """Why and for whom a digest is built again: the mail server refused a message for its size or its content.

    digest_id: id of the digest that claimed the runs. message_id: id of a message that was refused first. recipients: the addresses for
    which it was refused. recipients_of: 0 if they are recipients of the digest itself, 1 for its first group, and so on. step: how much is
    left out, as an index of REBUILD_STEPS. max_bytes: largest message that the server accepts; None if unknown. reason: the server's reply.
    """

    digest_id: int
    message_id: int
    recipients: tuple[str, ...]
    recipients_of: int
    step: int
    max_bytes: int | None
    reason: str


REBUILD_STEPS = ("smaller attachments", "no attachments", "only the numbers of changes")
"""What a digest is built again with, one step after each refusal. After the last step, the message that was refused first is parked."""


@dataclass(frozen=True)
class Again:
    """A person's request to report runs again, whether or not the digest has reported them.

    run_ids: the runs. recipients: bare addresses of the only recipients of the mail; () for all recipients of the digest.
    """

    run_ids: tuple[int, ...]
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True)
class DigestClaim:
    """The runs that one digest reports.

    id: identifies the claim. The Message-IDs of the digest's mails are derived from this id, so they stay the same if the digest is
    built again. slot_key: identifies the due time of the digest. attempt: number of attempts to build the digest, including this one.
    rebuild: set if the digest was already sent, and a mail server refused one of its messages. again: set if a person requested to report
    the runs again.
    """

    id: int
    name: str
    slot_key: str
    created_at: datetime
    run_ids: tuple[int, ...]
    attempt: int = field(default=1, compare=False)
    rebuild: Rebuild | None = None
    again: Again | None = None


@dataclass(frozen=True)
class DraftMessage:
    """A rendered message that is to be added to the outbox: an e-mail, or a text for a notification channel.

    file_key: key of the .eml file, or of the JSON file with the text, in the file store. recipients_of: 0 for the recipients of a digest
    itself, 1 for those of its first group, and so on. channel: "" for an e-mail, otherwise the reference of the channel's URL, such as
    "env:SLACK_URL".
    """

    message_id: str
    subject: str
    sender: str
    recipients: tuple[str, ...]
    file_key: str
    size_bytes: int
    recipients_of: int = 0
    channel: str = ""


@dataclass(frozen=True)
class Message:
    """A message of the outbox.

    recipients: the recipients to whom the message is still to be delivered: the mail server has neither accepted nor refused them.
    channel: as in DraftMessage.
    """

    id: int
    digest_id: int | None
    message_id: str
    subject: str
    sender: str
    recipients: tuple[str, ...]
    file_key: str
    size_bytes: int
    state: MessageState
    attempt: int
    created_at: datetime
    next_attempt_at: datetime
    sent_at: datetime | None
    last_error: str
    channel: str = ""


@dataclass(frozen=True)
class RecipientResult:
    """The mail server's reply for one recipient.

    code, text: the reply code and the reply text. retry: whether the server refused the recipient only temporarily (4xx). content:
    whether the server refused the message for its size or its content, and not the recipient. max_bytes: the largest message that the
    server accepts; None if it did not say.
    """

    address: str
    accepted: bool
    code: int = 0
    text: str = ""
    retry: bool = False
    content: bool = False
    max_bytes: int | None = None


@dataclass(frozen=True)
class SummaryClaim:
    """A sentence of a language model about changes. change_ids: the ids of the changes on which it rests, at least one."""

    text: str
    change_ids: tuple[int, ...]


@dataclass(frozen=True)
class ModelSummary:
    """What a language model said about the changes of a digest.

    claims: the most important first; () if the model found nothing that answers the question. order: ids of changes, the most important
    first. model, host: who wrote it. read: how many changes the model read. problem: why there is no summary or, if `read` is not 0, why
    the model did not read all the changes that it should have read; "" if it did.
    """

    claims: tuple[SummaryClaim, ...] = ()
    order: tuple[int, ...] = ()
    model: str = ""
    host: str = ""
    read: int = 0
    problem: str = ""

    @property
    def is_missing(self) -> bool:
        return not self.read
