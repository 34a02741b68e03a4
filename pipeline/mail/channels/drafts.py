"""Store the texts for notification channels, and make their messages for the outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipeline.mail.channels.text import ChannelText
from pipeline.model import DraftMessage
from pipeline.settings import Settings
from pipeline.settings.fields.addresses import bare_address
from pipeline.settings.fields.secret import Secret
from pipeline.store import Store

ADDRESS_LENGTH = 320
"""Length of an address in the table of recipients."""


def channel_drafts(store: Store, settings: Settings, text: ChannelText, notify: Sequence[Secret], *, stem: str, message_id: Callable[[int], str],
                   first: int = 1, recipients_of: int = 0) -> Iterator[DraftMessage]:
    """Write a text to the file store, and yield a message for each channel.

    The only recipient of a message is the reference of the channel's URL, never the URL itself. stem: key of the file without number and
    ending. message_id: returns the Message-ID of the message with a number. first: number of the first message.
    """
    content, sender = text.as_bytes(), bare_address(settings.mail.envelope_sender)
    for number, reference in enumerate(dict.fromkeys(secret.reference for secret in notify), first):
        key = f"{stem}-{number}.json"
        store.files.write(key, content)
        yield DraftMessage(message_id=message_id(number), subject=text.subject, sender=sender, recipients=(reference[:ADDRESS_LENGTH],),
                           file_key=key, size_bytes=len(content), recipients_of=recipients_of, channel=reference)
