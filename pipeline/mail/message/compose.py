"""Compose a MIME message and write it to a file: headers, text, HTML, pictures, attachments, DKIM.

The message is an `email.message.EmailMessage`, into which attachments are copied from disk while the message is written. Only one
chunk of an attachment is in memory at a time. All content is 7-bit (RFC 2045) with CRLF line ends, as SMTP requires.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime
from typing import IO, Any, BinaryIO
from urllib.parse import quote

from pipeline.errors import MailError
from pipeline.mail.message.attachment_encoding import encoding_of, write_attachment
from pipeline.mail.message.attachments import Attachment
from pipeline.mail.message.dkim import Signer
from pipeline.mail.message.header_folding import address_header, parameter_header
from pipeline.settings.fields.addresses import bare_address, name_and_address
from pipeline.text import clean_line, clean_subject

SUBJECT_LENGTH = 150
_VERBATIM = frozenset({"message-id", "references", "in-reply-to", "list-id", "list-unsubscribe", "list-unsubscribe-post"})
_ENCODED_LINE = 76  # RFC 2047, 2
_NAME_LENGTH = 300  # maximum length of a display name; a header line has at most 998 characters
_SPOOL_BYTES = 1 << 20


class _Policy(EmailPolicy):  # generic in the type stubs only
    """Email policy that corrects five faults in how Python's EmailPolicy folds headers.

    - EmailPolicy folds addresses and parameters incorrectly (see header_folding.py).
    - EmailPolicy turns an identifier that is longer than a line into encoded words, which no mail client decodes.
    - EmailPolicy begins a long subject on the second line, so that mail clients show a leading space.
    - EmailPolicy encodes only a part of some subjects, so that mail clients show two spaces instead of one. This policy
      encodes either the whole subject or nothing.
    - EmailPolicy does not encode a subject that contains text in the form of an encoded word, which mail clients would decode.

    With this policy, identifiers are not folded, and the first line of a subject may be long. Both are shorter than the limit of 998
    characters (RFC 5322, 2.1.1).
    """

    def fold(self, name: str, value: str) -> str:
        if name.lower() in _VERBATIM:
            return f"{name}: {value.replace('>, <', f'>,{self.linesep} <')}{self.linesep}"
        if name.lower() == "subject" and ("=?" in value or not (self.utf8 or str(value).isascii())):
            return f"{name}: {_encoded(value, linesep=self.linesep)}{self.linesep}"
        if addresses := getattr(value, "addresses", ()):
            return address_header(name, addresses, linesep=self.linesep, utf8=self.utf8)
        if parameters := getattr(value, "params", None):
            return parameter_header(name, _without_parameters(value), parameters, linesep=self.linesep)
        folded = super().fold(name, value)
        empty = f"{name}:{self.linesep} "
        return f"{name}: {folded.removeprefix(empty)}" if folded.startswith(empty) else folded

    def fold_binary(self, name: str, value: str) -> bytes:
        return self.fold(name, value).encode("utf-8" if self.utf8 else "ascii", "surrogateescape")


def _encoded(subject: str, *, linesep: str) -> str:
    """Return a subject as encoded words (RFC 2047), folded."""
    return Header(subject, "utf-8", maxlinelen=_ENCODED_LINE, header_name="Subject").encode(linesep=linesep)


def _without_parameters(header: Any) -> str:
    """Return the value of a Content-Type or Content-Disposition header without its parameters."""
    return str(getattr(header, "content_type", None) or header.content_disposition)


@dataclass(frozen=True)
class Envelope:
    """The values of the header fields of one message.

    sender: address of the From header. on_behalf: address of the Sender header; None means no Sender header. list_name: name in the
    List-Id header; "" means no List-Id header. references: Message-ID by which mail clients group the mails of a digest into one
    conversation; "" means no conversation. unsubscribe: https or mailto URL for unsubscribing; "" means no URL.
    """

    sender: str
    to: Sequence[str]
    reply_to: str | None
    subject: str
    message_id: str
    date: datetime
    cc: Sequence[str] = ()
    on_behalf: str | None = None
    list_name: str = ""
    references: str = ""
    unsubscribe: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture in a mail. The HTML of the mail refers to the picture as `cid:NAME`. content_type: image/png or image/jpeg."""

    name: str
    content: bytes
    content_type: str = "image/png"


def by_alphabet(addresses: Iterable[str]) -> list[tuple[str, ...]]:
    """Divide addresses among two messages: first those in ASCII, then those whose local part is not; a group without addresses is left out.

    Many mail servers refuse a whole message with an address of the second kind (RFC 6531).
    """
    by_kind: dict[bool, list[str]] = {True: [], False: []}
    for address in addresses:
        by_kind[bare_address(address).isascii()].append(address)
    return [tuple(found) for found in by_kind.values() if found]


def domain_of(address: str) -> str:
    return bare_address(address).rpartition("@")[2]


def reply_address(address: str) -> str:
    """Return the bare form of an address at which replies can arrive from anywhere; "" if its domain is a local name or it is not ASCII."""
    bare = bare_address(address)
    return bare if "." in domain_of(bare) and bare.isascii() else ""


def message_id(name: str, digest_id: int, part: int, created_at: datetime, sender: str) -> str:
    """Return the unique Message-ID of one mail of a digest.

    A mail that is rendered again after a crash gets the same Message-ID. name: name of the digest. digest_id: id of the digest's
    claim. part: number of the mail within the digest. created_at: when the claim was created.
    """
    seed = f"{name}\0{digest_id}\0{part}\0{created_at.isoformat()}\0{sender}"
    return f"<{name}.{digest_id}.{part}.{hashlib.sha256(seed.encode()).hexdigest()[:20]}@{domain_of(sender)}>"


def thread_id(name: str, sender: str) -> str:
    """Return the Message-ID that all mails of a digest refer to, so that they form one conversation.

    There is no mail with this Message-ID.
    """
    return f"<{name}.thread@{domain_of(sender)}>"


def _address(address: str) -> Address:
    name, _ = name_and_address(address)
    local, _, domain = bare_address(address).rpartition("@")
    return Address(clean_line(name, _NAME_LENGTH), local, domain)


def headers(envelope: Envelope) -> EmailMessage:
    """Return a message that has all its header fields, but no body.

    Raises MailError for an address that is not valid in a header.
    """
    everyone = filter(None, (envelope.sender, envelope.on_behalf, envelope.reply_to, *envelope.to, *envelope.cc))
    ascii_only = all(bare_address(address).isascii() for address in everyone)
    message = EmailMessage(policy=_Policy(linesep="\r\n", raise_on_defect=False, cte_type="7bit", utf8=not ascii_only))
    try:
        message["Date"] = format_datetime(envelope.date)
        message["From"] = _address(envelope.sender)
        if envelope.on_behalf:
            message["Sender"] = _address(envelope.on_behalf)
        if envelope.reply_to:
            message["Reply-To"] = _address(envelope.reply_to)
        if envelope.to or not envelope.cc:
            message["To"] = [_address(address) for address in envelope.to] or "undisclosed-recipients:;"
        if envelope.cc:
            message["Cc"] = [_address(address) for address in envelope.cc]
        subject = clean_subject(envelope.subject, SUBJECT_LENGTH)
        # EmailMessage decodes what it is given, but a text in the form of an encoded word is shown as it is.
        message["Subject"] = _encoded(subject, linesep="") if "=?" in subject else subject
        message["Message-ID"] = envelope.message_id
    except ValueError as error:
        raise MailError(f"an e-mail address is not valid: {error}", where="settings.toml: mail",
                        fix="correct `from`, `sender` and `reply_to` in [mail], and the addresses of the digest") from error
    if envelope.references:
        message["In-Reply-To"] = envelope.references
        message["References"] = envelope.references
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: prevents out-of-office replies
    message["X-Auto-Response-Suppress"] = "All"
    if envelope.list_name:
        _list_headers(message, envelope)
    return message


def _list_headers(message: EmailMessage, envelope: Envelope) -> None:
    """Add List-Id (RFC 2919), List-Unsubscribe (RFC 2369) and List-Unsubscribe-Post (RFC 8058)."""
    message["List-Id"] = f"<{envelope.list_name}.{domain_of(envelope.sender)}>"
    if targets := _unsubscribe_targets(envelope):
        message["List-Unsubscribe"] = targets
    if envelope.unsubscribe and not _is_mailto(envelope.unsubscribe):
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"


def _unsubscribe_targets(envelope: Envelope) -> str:
    """Return the value of List-Unsubscribe; "" if there is none.

    It contains the `unsubscribe` URL if there is one. Unless this is a mailto URL, it also contains the reply address, if mails to this address
    can arrive.
    """
    targets = [f"<{envelope.unsubscribe}>"] if envelope.unsubscribe else []
    if (address := reply_address(envelope.reply_to or envelope.sender)) and not _is_mailto(envelope.unsubscribe):
        query = f"subject=unsubscribe%20{quote(envelope.list_name)}"
        targets.append(f"<mailto:{quote(address, safe='@+._-')}?{query}>")
    return ", ".join(targets)


def _is_mailto(url: str) -> bool:
    return url.lower().startswith("mailto:")


def recipient_headers(envelope: Envelope) -> dict[str, bytes]:
    """Return the header lines in which messages with the same content to several ASCII recipients differ, by name.

    Raises MailError for an address that is not valid in a header.
    """
    own = headers(replace(envelope, subject="", references=""))
    return {name: own.policy.fold_binary(name, own[name]) for name in ("To", "Message-ID", "List-Unsubscribe") if own[name] is not None}


Piece = bytes | Attachment
"""A part of an encoded message: bytes, or an attachment that is encoded while it is written."""


@dataclass(frozen=True)
class Content:
    """The content of a message. html: "" for a message without HTML."""

    text: str
    html: str = ""
    pictures: Sequence[Picture] = ()
    attachments: Sequence[Attachment] = ()


def write(file: BinaryIO, envelope: Envelope, *, text: str, html: str = "", pictures: Sequence[Picture] = (),
          attachments: Sequence[Attachment] = (), signer: Signer | None = None) -> None:
    """Write the whole message to `file`, copying the attachments in chunks.

    signer: signs the message with DKIM; None means no signature. Raises MailError for an address that is not valid in a header, OSError if a
    file cannot be read or written.
    """
    write_pieces(file, pieces(envelope, Content(text, html, pictures, attachments)), signer=signer, at=envelope.date)


def write_pieces(file: BinaryIO, found: Iterable[Piece], *, signer: Signer | None, at: datetime) -> None:
    """Write an encoded message to `file`, as `write` does.

    A message to be signed is written to a temporary file first, because its signature must precede it. at: time of the signature.
    """
    if signer is None:
        _write(file, found)
        return
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as whole:
        _write(whole, found)
        whole.seek(0)
        file.write(signer.header(whole, at=at))
        whole.seek(0)
        shutil.copyfileobj(whole, file)


def _write(file: IO[bytes], found: Iterable[Piece]) -> None:
    for piece in found:
        if isinstance(piece, bytes):
            file.write(piece)
        else:
            write_attachment(file, piece)


def pieces(envelope: Envelope, content: Content) -> Iterator[Piece]:
    """Yield the message in pieces, in which its attachments are not read yet. The first piece contains the headers.

    Raises MailError for an address that is not valid in a header.
    """
    message = headers(envelope)
    seed = hashlib.sha256(envelope.message_id.encode()).hexdigest()
    message.set_content(content.text)
    if content.html:
        message.add_alternative(content.html, subtype="html")
        message.set_boundary(f"=_alternative_{seed[:24]}")
        if content.pictures:
            _add_pictures(message, content.pictures, seed)
    marks = []
    if content.attachments:
        message.make_mixed()
        message.set_boundary(f"=_mixed_{seed[:24]}")
        for number, attachment in enumerate(content.attachments):
            marks.append(f"--{seed}-{number}--".encode())
            message.attach(_part(attachment, marks[-1]))
    elif content.html:
        # The spam filter rspamd adds a point to a mail whose top level is multipart/alternative, if it has an odd number of links.
        message.make_mixed()
        message.set_type("multipart/related")
        message.set_param("type", "multipart/alternative")
        message.set_boundary(f"=_whole_{seed[:24]}")
    rest = message.as_bytes()
    for mark, attachment in zip(marks, content.attachments, strict=True):
        before, _, rest = rest.partition(mark)
        yield before
        yield attachment
    yield rest


def _add_pictures(message: EmailMessage, pictures: Sequence[Picture], seed: str) -> None:
    """Turn the HTML part into a multipart/related (RFC 2387) that contains the pictures."""
    html = message.get_body(("html",))
    assert isinstance(html, EmailMessage)
    for picture in pictures:
        kind = picture.content_type.partition("/")[2]
        html.add_related(picture.content, "image", kind, cid=f"<{picture.name}>", disposition="inline",
                         filename=f"{picture.name.partition('@')[0]}.{kind.replace('jpeg', 'jpg')}")
    html.set_boundary(f"=_related_{seed[:24]}")


def _part(attachment: Attachment, mark: bytes) -> EmailMessage:
    """Return an attachment as a MIME part with a placeholder instead of the body.

    mark: the placeholder, which is replaced with the content of the file while the message is written. A file name with non-ASCII
    characters is encoded according to RFC 2231.
    """
    part = EmailMessage(policy=_Policy(linesep="\r\n"))
    del part["MIME-Version"]
    # Without a charset, mail clients and spam filters would guess the encoding.
    charset = {"charset": "utf-8"} if attachment.content_type == "text/csv" and attachment.ours else {}
    part.add_header("Content-Type", attachment.content_type, **charset, name=attachment.name)
    part["Content-Transfer-Encoding"] = encoding_of(attachment)
    part.add_header("Content-Disposition", "attachment", filename=attachment.name)
    part.set_payload(mark.decode())
    return part
