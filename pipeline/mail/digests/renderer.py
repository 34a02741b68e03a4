"""Render the mails of one digest: content, attachments and headers."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from pipeline.display.field_view import Detail
from pipeline.display.formats import FieldRules, rules_of
from pipeline.languages import Wording, wording
from pipeline.mail.digests.contents import RecipientsContent
from pipeline.mail.digests.left_out_notes import left_out_notes
from pipeline.mail.digests.notice import Notice
from pipeline.mail.digests.recipients import quoted_recipient, tables_of_messages, unsubscribe_url
from pipeline.mail.formats.columns import Columns
from pipeline.mail.message import compose
from pipeline.mail.message.attachments import Attachment, Packed, Packer
from pipeline.mail.message.copies import Copies
from pipeline.mail.message.dkim import signer_of
from pipeline.mail.render.archive_links import ArchiveLinks
from pipeline.mail.render.charts import charts_of
from pipeline.mail.render.file_view import FileLinks
from pipeline.mail.render.footer import FooterOptions
from pipeline.mail.render.group_view import Grouping
from pipeline.mail.render.item_pictures import PictureLoader, Pictures, pictures_of
from pipeline.mail.render.model_summary_view import SummaryOptions
from pipeline.mail.render.page_comparison import PagePictures, page_pictures_of
from pipeline.mail.render.render import (
    COUNTS_ONLY,
    DETAILS,
    Rendered,
    RenderOptions,
    numbered,
    render,
    render_part,
    sent_again,
)
from pipeline.model import ChangeKind
from pipeline.settings import RECIPIENT, DigestTable, Settings
from pipeline.settings.fields.addresses import bare_address
from pipeline.settings.masking import Mask
from pipeline.store import Store


@dataclass(frozen=True)
class RenderLevel:
    """How completely a digest is rendered.

    as_configured: whether to use the templates, charts, HTML fields and attachments that the settings name; False uses only the
    built-in templates. attach_csv: whether to attach a CSV file with all changes. details: the amounts of detail to try until the
    mail is small enough, in this order. notice: why the digest is not complete.
    """

    as_configured: bool
    attach_csv: bool
    details: tuple[Detail, ...]
    notice: Notice = field(default_factory=Notice)


RENDER_LEVELS = (RenderLevel(as_configured=True, attach_csv=False, details=DETAILS),
                 RenderLevel(as_configured=False, attach_csv=True, details=DETAILS),
                 RenderLevel(as_configured=False, attach_csv=False, details=COUNTS_ONLY))
"""The levels of completeness, the most complete first. If a digest cannot be rendered at one level, the next level is tried. The
last level shows only the numbers of changes."""


COPIED_BYTES = 2 * 10**9
"""Maximum size of the attachments of all messages together, if each recipient gets a message of their own, before encoding."""


@dataclass(frozen=True)
class RenderedMail:
    """One rendered mail with its recipients and attachments.

    table: the settings of the mail, with only its recipients. recipients_of: as in RecipientsContent. page: the content for a file that
    a person opens in a browser. is_first: False for a mail that repeats an earlier mail for another recipient. copies: writes the messages
    with this content to one recipient each; None for a mail to all.
    """

    table: DigestTable
    recipients_of: int
    rendered: Rendered
    page: Rendered
    attachments: Sequence[Attachment]
    is_first: bool
    copies: Copies | None = None


class DigestRenderer:
    """Renders the mails of one digest."""

    def __init__(self, store: Store, settings: Settings, name: str, *, digest_id: int, now: datetime,
                 level: RenderLevel = RENDER_LEVELS[0], pictures: PictureLoader | None = None) -> None:
        self._store = store
        self._settings = settings
        self._name = name
        self._digest_id = digest_id
        self._now = now
        self._signer = signer_of(settings)
        self._level = level
        self._pictures = pictures
        self._mask = Mask.of(settings)
        self._recipient_mark = f"recipient-{secrets.token_hex(16)}"  # scraped text cannot contain it
        """Stands for the recipient's address in what is rendered once for all recipients."""

    def mails(self, contents: Sequence[RecipientsContent], *, scratch: Path, keep_under: str) -> Iterator[RenderedMail]:
        """Yield the rendered mails, numbered in this order.

        scratch: folder for temporary files. keep_under: beginning of the keys under which attachments that are too large are kept
        in the file store; "" does not keep them.
        """
        for position, content in enumerate(contents, 1):
            folder = scratch / str(position)
            folder.mkdir(mode=0o700)
            kept = keep_under if position == 1 or not keep_under else f"{keep_under}-{position}"
            rendered, packed = self._render(content, scratch=folder, keep_under=kept)
            total = 1 + len(packed.further)
            if self._level.notice.is_again:
                rendered = sent_again(rendered, content.table.language)
            first = replace(rendered, subject=numbered(rendered.subject, 1, total))
            parts = [render_part(rendered, attachments, number=number, total=total, language=content.table.language)
                     for number, attachments in enumerate(packed.further, 2)]
            is_personal, is_first = RECIPIENT in (content.table.unsubscribe or ""), True
            mails = list(zip((first, *parts), (packed.attachments, *packed.further), strict=True))
            copies = [Copies(compose.Content(part.text, part.html, part.pictures, attachments), self._recipient_mark, self._signer)
                      if content.table.is_individual else None for part, attachments in mails]
            for table in tables_of_messages(content.table):
                for (part, attachments), copied in zip(mails, copies, strict=True):
                    own = part.with_text(self._recipient_mark, quoted_recipient(table)) if is_personal else part
                    page = self._without_personal_links(part) if is_personal and is_first else own
                    yield RenderedMail(table, content.recipients_of, own, page, attachments, is_first, copied)
                is_first = not table.is_individual

    def _render(self, content: RecipientsContent, *, scratch: Path, keep_under: str) -> tuple[Rendered, Packed]:
        table, summary, as_configured = content.table, content.summary, self._level.as_configured
        words, zone = wording(table.language), table.zone(self._settings.zone)
        attach = table.attach if as_configured else ("csv",) if self._level.attach_csv else ()
        packed = self._packed(content, attach, scratch=scratch, keep_under=keep_under)
        templates = self._settings.folder / table.templates if table.templates and as_configured else None
        rules = {spider: rules_of(own, table.over(own.display), formatted=as_configured) for spider, own in self._settings.spiders.items()}
        charts = {}
        if table.charts and as_configured:
            charts = charts_of(self._store, summary.top[ChangeKind.CHANGED], table.charts, rules=rules, words=words,
                               zone=zone, seed=compose.domain_of(self._settings.mail.from_))
        options = RenderOptions(
            name=self._name, subject=table.subject, language=table.language, zone=zone, now=self._now, templates=templates,
            charts=charts, rules=rules, details=self._level.details, notice=self._level.notice.text(table.language), is_again=self._level.notice.is_again,
            links=FileLinks(self._settings.heartbeat.file_url, self._mask), footer=self._footer(table),
            grouping=grouping_of(table, self._settings, words), pictures=self._pictures_of(content, rules),
            page_pictures=self._page_pictures_of(content, rules), model_summary=self._model_summary(content),
            notes=list(left_out_notes(content.left_out, words, self._list_of_left_out())),
            archive=ArchiveLinks(self._settings.heartbeat.page_url(""), FileLinks(mask=self._mask).public))
        rendered = render(summary, packed, options)
        if not rendered.shows_items and not packed.table and self._level.details is not COUNTS_ONLY:
            packed = self._packed(content, (*attach, "csv"), scratch=scratch, keep_under=keep_under)
            rendered = render(summary, packed, options)
        return rendered, packed

    def _model_summary(self, content: RecipientsContent) -> SummaryOptions | None:
        """Return the summary of a language model; None also for a mail that shows only counts, whose presentation must not depend on anything else."""
        if content.model_summary is None or self._level.details is COUNTS_ONLY:
            return None
        return SummaryOptions(content.model_summary, question_of(content.table))

    def _list_of_left_out(self) -> str:
        """Return the URL of the list of the changes that are left out; "" if the pages have no public URL."""
        url = self._settings.heartbeat.page_url(f"/digests/{self._name}/left-out")
        return f"{url}?of={self._digest_id}" if url and self._digest_id else url

    def _without_personal_links(self, part: Rendered) -> Rendered:
        """Return the content without the links with which one recipient would be unsubscribed."""
        html = re.sub(rf'\shref="[^"]*{self._recipient_mark}[^"]*"', "", part.html)
        return replace(part, html=html).with_text(self._recipient_mark, "recipient")

    def _footer(self, table: DigestTable) -> FooterOptions:
        settings = self._settings.mail
        return FooterOptions((table.unsubscribe or "").replace(RECIPIENT, self._recipient_mark), table.settings_url or "",
                             compose.reply_address(settings.reply_to or settings.from_))

    def _pictures_of(self, content: RecipientsContent, rules: Mapping[str, FieldRules]) -> Pictures:
        table = content.table
        if not table.images or not self._level.as_configured or self._pictures is None:
            return Pictures()
        found = pictures_of(content.summary, rules, self._pictures,
                            words=wording(table.language), seed=compose.domain_of(self._settings.mail.from_))
        return replace(found, note=self._mask(found.note))

    def _page_pictures_of(self, content: RecipientsContent, rules: Mapping[str, FieldRules]) -> PagePictures:
        table = content.table
        if table.images is False or not self._level.as_configured:
            return PagePictures()
        return page_pictures_of(content.summary, self._store.files, rules, FileLinks(self._settings.heartbeat.file_url, self._mask),
                                words=wording(table.language), seed=compose.domain_of(self._settings.mail.from_))

    def _packed(self, content: RecipientsContent, attach: Sequence[str], *, scratch: Path, keep_under: str) -> Packed:
        table, summary = content.table, content.summary
        copies = len({bare_address(address) for address in table.everyone}) if table.is_individual else 1
        limit_bytes = min(table.attach_limit, COPIED_BYTES // max(copies, 1))
        oversize = "list" if limit_bytes < table.attach_limit and table.oversize == "split" else table.oversize
        packer = Packer(self._store, stem=f"{self._name}-{self._now.astimezone(table.zone(self._settings.zone)):%Y-%m-%d}", scratch=scratch,
                        keep_under=keep_under, limit_bytes=limit_bytes, oversize=oversize,
                        csv_bom=table.csv_bom)
        return packer.pack(attach, changes=content.changes, total=summary.total, files=summary.files, programs=table.attach_programs,
                           columns=Columns(summary.fields, frozenset(summary.fields_changed), frozenset(summary.fields_priced)))

    def envelope(self, mail: RenderedMail, *, number: int) -> compose.Envelope:
        settings, table = self._settings.mail, mail.table
        return compose.Envelope(
            sender=settings.from_, to=table.to, cc=table.cc, reply_to=settings.reply_to,
            on_behalf=settings.sender, subject=mail.rendered.subject, date=self._now.astimezone(table.zone(self._settings.zone)),
            message_id=compose.message_id(self._name, self._digest_id, number, self._now, settings.from_),
            list_name=self._name, unsubscribe=unsubscribe_url(table),
            references=compose.thread_id(self._name, settings.from_) if table.thread else "")

    def write(self, file: BinaryIO, envelope: compose.Envelope, mail: RenderedMail) -> None:
        if mail.copies is not None:
            mail.copies.write(file, envelope, quoted_recipient(mail.table))
            return
        compose.write(file, envelope, text=mail.rendered.text, html=mail.rendered.html, signer=self._signer,
                      pictures=mail.rendered.pictures, attachments=mail.attachments)


def question_of(table: DigestTable) -> str:
    """Return what the readers want to know of the language model; "" if they have no question of their own."""
    return table.summary if isinstance(table.summary, str) else ""


def grouping_of(table: DigestTable, settings: Settings, words: Wording) -> Grouping:
    """Return how a digest groups its spiders. A spider belongs to the group of the first tag that the digest selects, or else of its own first tag."""
    by = table.group_by or ("spider" if len(table.spiders) > 1 else "kind")
    if by == "kind":
        return Grouping()
    if by == "spider":
        return Grouping({spider: spider for spider in table.spiders}, by_spider=True)
    tags = {spider: settings.spiders[spider].tags for spider in table.spiders if spider in settings.spiders}
    first = {spider: next((tag for tag in (*table.tags, *own) if tag in own), "") for spider, own in tags.items()}
    if not any(first.values()):
        return Grouping()
    tagged = sorted(first, key=lambda spider: not first[spider])
    return Grouping({spider: first[spider] for spider in tagged}, other=words.other)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Create an empty temporary folder for a `with` block, and delete the folder at the end of the block.

    If a killed process left the same folder behind, the content of the folder is deleted first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
