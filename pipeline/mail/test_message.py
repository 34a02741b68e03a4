"""Send a test message directly, without the outbox, and show the SMTP dialogue (`pipeline mail test`)."""

from __future__ import annotations

import io
import os
import tempfile
import uuid
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import TextIO

from pipeline.mail.message import compose
from pipeline.mail.message.dkim import signer_of
from pipeline.mail.transports import open_transport
from pipeline.model import Message, MessageState, RecipientResult
from pipeline.settings import Settings
from pipeline.settings.fields.addresses import bare_address

_TEXT = """\
This is a test message of the pipeline, sent {at}.

If you can read this message, the [mail] settings work: digests reach this address.
"""


def compose_test(settings: Settings, to: str, now: datetime) -> EmailMessage:
    """Return a test message that has the same headers as a digest.

    Raises MailError for an address that is not valid in a header.
    """
    sender = settings.mail.from_
    message = compose.headers(compose.Envelope(
        sender=sender, to=[to], reply_to=settings.mail.reply_to, on_behalf=settings.mail.sender, subject="Test message of the pipeline",
        message_id=f"<test.{uuid.uuid4().hex}@{compose.domain_of(sender)}>", date=now.astimezone(settings.zone)))
    message.set_content(_TEXT.format(at=f"{now.astimezone(settings.zone):%Y-%m-%d %H:%M:%S %Z}"))
    return message


def send_test(settings: Settings, data_dir: Path, to: str, *, now: datetime,
              dialogue: TextIO | None = None) -> tuple[RecipientResult, str]:
    """Send a test message now; return the recipient's result and a text that describes the delivery.

    dialogue: stream to which the dialogue with the mail server is written, with secrets masked; None means that the dialogue is not
    written. Raises MailError.
    """
    mail = compose_test(settings, to, now)
    content = mail.as_bytes()
    signer = signer_of(settings)
    if signer is not None:
        content = signer.header(io.BytesIO(content), at=now) + content
    message = Message(id=0, digest_id=None, message_id=str(mail["Message-ID"]), subject=str(mail["Subject"]),
                      sender=bare_address(settings.mail.envelope_sender), recipients=(bare_address(to),),
                      file_key="", size_bytes=len(content), state=MessageState.WAITING, attempt=1, created_at=now,
                      next_attempt_at=now, sent_at=None, last_error="")
    transport = open_transport(settings, data_dir, dialogue=dialogue)
    descriptor, name = tempfile.mkstemp(suffix=".eml")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        result, = transport.deliver(message, Path(name))
        return result, transport.receipt(to)
    finally:
        transport.close()
        Path(name).unlink()
