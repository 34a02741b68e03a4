"""Render the mails of one digest: content, attachments and headers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from pipeline.languages import wording
from pipeline.mail.digests.contents import RecipientsContent
from pipeline.mail.formats.columns import Columns
from pipeline.mail.message import compose
from pipeline.mail.message.attachments import Attachment, Packed, Packer
from pipeline.mail.message.dkim import signer_of
from pipeline.mail.render.charts import charts_of
from pipeline.mail.render.fields.field_view import Detail
from pipeline.mail.render.fields.formats import FieldRules
from pipeline.mail.render.file_view import FileLinks
from pipeline.mail.render.render import COUNTS_ONLY, DETAILS, Rendered, RenderOptions, numbered, render, render_part
from pipeline.model import ChangeKind
from pipeline.settings import DigestTable, RecipientsTable, Settings, SpiderTable
from pipeline.settings.masking import Mask
from pipeline.store import Store


@dataclass(frozen=True)
class RenderLevel:
    """How completely a digest is rendered.

    as_configured: whether to use the templates, charts, HTML fields and attachments that the settings name; False uses only the
    built-in templates. attach_csv: whether to attach a CSV file with all changes. details: the amounts of detail to try until the
    mail is small enough, in this order.
    """

    as_configured: bool
    attach_csv: bool
    details: tuple[Detail, ...]


RENDER_LEVELS = (RenderLevel(as_configured=True, attach_csv=False, details=DETAILS),
                 RenderLevel(as_configured=False, attach_csv=True, details=DETAILS),
                 RenderLevel(as_configured=False, attach_csv=False, details=COUNTS_ONLY))
"""The levels of completeness, the most complete first. If a digest cannot be rendered at one level, the next level is tried. The
last level shows only the numbers of changes."""


@dataclass(frozen=True)
class RenderedMail:
    """One rendered mail with its recipients and attachments. recipients_of: as in RecipientsContent."""

    recipients: RecipientsTable
    recipients_of: int
    rendered: Rendered
    attachments: Sequence[Attachment]


class DigestRenderer:
    """Renders the mails of one digest."""

    def __init__(self, store: Store, settings: Settings, name: str, *, digest_id: int, now: datetime,
                 level: RenderLevel = RENDER_LEVELS[0], notice: str = "") -> None:
        self._store = store
        self._settings = settings
        self._name = name
        self._table = settings.digests[name]
        self._digest_id = digest_id
        self._now = now
        self._zone = self._table.zone(settings.zone)
        self._signer = signer_of(settings)
        self._level = level
        self._notice = notice
        self._mask = Mask.of(settings)

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
            first = replace(rendered, subject=numbered(rendered.subject, 1, total))
            parts = [render_part(rendered, attachments, number=number, total=total, language=self._table.language)
                     for number, attachments in enumerate(packed.further, 2)]
            for recipients in _by_alphabet(content.recipients):
                for part, attachments in zip((first, *parts), (packed.attachments, *packed.further), strict=True):
                    yield RenderedMail(recipients, content.recipients_of, part, attachments)

    def _render(self, content: RecipientsContent, *, scratch: Path, keep_under: str) -> tuple[Rendered, Packed]:
        table, summary, as_configured = self._table, content.summary, self._level.as_configured
        attach = table.attach if as_configured else ("csv",) if self._level.attach_csv else ()
        packed = self._packed(content, attach, scratch=scratch, keep_under=keep_under)
        charts = {}
        if table.charts and as_configured:
            charts = charts_of(self._store, summary.top[ChangeKind.CHANGED], table.charts, words=wording(table.language),
                               zone=self._zone, seed=compose.domain_of(self._settings.mail.from_))
        templates = self._settings.folder / table.templates if table.templates and as_configured else None
        rules = {spider: field_rules(own, table, formatted=as_configured) for spider, own in self._settings.spiders.items()}
        options = RenderOptions(
            name=self._name, subject=table.subject, language=table.language, zone=self._zone, now=self._now, templates=templates,
            charts=charts, rules=rules, details=self._level.details, notice=self._notice,
            links=FileLinks(self._settings.heartbeat.file_url, self._mask))
        rendered = render(summary, packed, options)
        if not rendered.shows_items and not packed.table and self._level.details is not COUNTS_ONLY:
            packed = self._packed(content, (*attach, "csv"), scratch=scratch, keep_under=keep_under)
            rendered = render(summary, packed, options)
        return rendered, packed

    def _packed(self, content: RecipientsContent, attach: Sequence[str], *, scratch: Path, keep_under: str) -> Packed:
        table, summary = self._table, content.summary
        packer = Packer(self._store, stem=f"{self._name}-{self._now.astimezone(self._zone):%Y-%m-%d}", scratch=scratch,
                        keep_under=keep_under, limit_bytes=table.attach_limit, oversize=table.oversize,
                        csv_bom=table.csv_bom)
        return packer.pack(attach, changes=content.changes, total=summary.total, files=summary.files, programs=table.attach_programs,
                           columns=Columns(summary.fields, frozenset(summary.fields_changed), frozenset(summary.fields_priced)))

    def envelope(self, mail: RenderedMail, *, number: int) -> compose.Envelope:
        settings, table = self._settings.mail, self._table
        return compose.Envelope(
            sender=settings.from_, to=mail.recipients.to, cc=mail.recipients.cc, reply_to=settings.reply_to,
            on_behalf=settings.sender, subject=mail.rendered.subject, date=self._now.astimezone(self._zone),
            message_id=compose.message_id(self._name, self._digest_id, number, self._now, settings.from_),
            list_name=self._name, unsubscribe=table.unsubscribe,
            references=compose.thread_id(self._name, settings.from_) if table.thread else "")

    def write(self, file: BinaryIO, envelope: compose.Envelope, mail: RenderedMail) -> None:
        compose.write(file, envelope, text=mail.rendered.text, html=mail.rendered.html, signer=self._signer,
                      pictures=mail.rendered.pictures, attachments=mail.attachments)


def _by_alphabet(recipients: RecipientsTable) -> list[RecipientsTable]:
    """Return the recipients whose addresses are ASCII, and apart from them those whose local parts are not.

    Many mail servers refuse a whole message with an address of the second kind (RFC 6531), so these recipients get a message of their own.
    """
    def is_ascii(address: str) -> bool:
        return compose.bare_address(address).isascii()

    parts = (recipients.only(is_ascii), recipients.only(lambda address: not is_ascii(address)))
    return [found for found in parts if found.everyone]


def field_rules(spider: SpiderTable, digest: DigestTable, *, formatted: bool) -> FieldRules:
    """Return how a digest shows the fields of a spider. formatted: False to show all values as they are stored."""
    fields = spider.items.all_fields if spider.items is not None and formatted else {}
    types = {name: "records" if rule.fields else rule.type for name, rule in fields.items()}
    return FieldRules(types, digest.over(spider.display), frozenset(start.url for start in spider.start), formatted)


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
