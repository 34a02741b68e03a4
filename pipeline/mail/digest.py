"""Build digests: render what the claimed runs of a digest found, and add the messages to the outbox.

A digest is built in a child process, and never rendered inside a database transaction. The names of its files are derived from the
id of the claim. A digest that is built again after a crash therefore overwrites the files of the interrupted attempt.
"""

from __future__ import annotations

import base64
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import LeaseLostError, MailError, PipelineError, UsageError
from pipeline.mail.filters import FilteredChanges
from pipeline.mail.formats.columns import Columns
from pipeline.mail.message import compose
from pipeline.mail.message.attachments import Attachment, Packed, Packer
from pipeline.mail.message.dkim import signer_of
from pipeline.mail.render.charts import charts_of
from pipeline.mail.render.item_view import Detail
from pipeline.mail.render.render import (
    COUNTS_ONLY,
    DETAILS,
    KEEP,
    Rendered,
    RenderOptions,
    numbered,
    render,
    render_part,
)
from pipeline.mail.render.translations import WORDINGS
from pipeline.mail.smaller_digest import with_less
from pipeline.mail.summary import DigestSummary, NetChanges, fewer_values, rejected_items, summarize
from pipeline.model import REBUILD_STEPS, Change, ChangeKind, DigestClaim, DraftMessage
from pipeline.settings import DigestTable, RecipientsTable, Settings, SpiderTable, nearest
from pipeline.store import Store
from pipeline.store.mail import digests as stored
from pipeline.text import clean_line

FOLDER = "messages"

logger = logging.getLogger(__name__)


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
class BuiltDigest:
    """The result of building a digest.

    message_ids: ids of the enqueued messages; empty if there was nothing to report. html_keys: file-store keys of the HTML files that
    show the mails in a browser. subject, counts: subject of the first mail, and its number of changes by kind. problem: why the
    digest was not rendered completely; "" if it was.
    """

    digest_id: int
    message_ids: tuple[int, ...] = ()
    html_keys: tuple[str, ...] = ()
    subject: str = ""
    counts: dict[ChangeKind, int] | None = None
    problem: str = ""


@dataclass(frozen=True)
class _RecipientsContent:
    """The changes that pass the filters of some recipients, and the summary of these changes.

    recipients_of: 0 for the recipients of the digest itself, 1 for its first group, and so on.
    """

    recipients: RecipientsTable
    recipients_of: int
    changes: Iterable[Change]
    summary: DigestSummary


@dataclass(frozen=True)
class _Mail:
    """One rendered mail with its recipients and attachments. recipients_of: as in _RecipientsContent."""

    recipients: RecipientsTable
    recipients_of: int
    rendered: Rendered
    attachments: Sequence[Attachment]


def build(store: Store, settings: Settings, claim: DigestClaim, *, owner: str, now: datetime,
          first: int = 0, problem: str = "") -> BuiltDigest:
    """Render what the claimed runs found, enqueue the messages and close the claim.

    If rendering fails, for example because of an error in a user's template, the next level of RENDER_LEVELS is tried. The mail, the
    log and the digest's row in the database then contain the reason.

    claim: the runs to report. owner: the owner of the claim's lease. first: index of the first level to try; not 0 if earlier
    processes were killed while they built this digest. problem: why levels before `first` are not tried; "" if `first` is 0.

    Raises LeaseLostError if another process has taken over the claim, MailError for an address that is not valid in a mail header,
    StoreError.
    """
    steps = [(settings, None)] if claim.rebuild is None else [
        (with_less(settings, claim.name, claim.rebuild, step), claim.rebuild.max_bytes) for step in range(claim.rebuild.step, len(REBUILD_STEPS) - 1)]
    problem = problem or (claim.rebuild.reason if claim.rebuild is not None else "")
    for own, max_bytes in steps:
        for level in RENDER_LEVELS[first:-1]:
            try:
                return _build(store, own, claim, level, problem, owner=owner, now=now, max_bytes=max_bytes)
            except _TooLargeError:
                break
            except UsageError as error:
                problem = str(error)
                logger.error("the digest %s is rendered again with less content, because rendering failed: %s", claim.name, error)  # noqa: TRY400  a user's mistake
            except (PipelineError, OSError):
                raise  # the store, the disk or an address caused the error, so a lower level would fail as well
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                logger.exception("the digest %s is rendered again with less content, because rendering failed", claim.name)
    own = settings if claim.rebuild is None else with_less(settings, claim.name, claim.rebuild, len(REBUILD_STEPS) - 1)
    return _build(store, own, claim, RENDER_LEVELS[-1], problem, owner=owner, now=now)


class _TooLargeError(Exception):
    """A rendered message is larger than the mail server accepts."""


def _build(store: Store, settings: Settings, claim: DigestClaim, level: RenderLevel, problem: str, *, owner: str,
           now: datetime, max_bytes: int | None = None) -> BuiltDigest:
    """Render the mails of a digest, enqueue them and close the claim. Raises _TooLargeError for a mail of more than `max_bytes` bytes."""
    table = settings.digests.get(claim.name)
    contents = _contents(store, table, claim.run_ids) if table is not None else []
    if not contents:  # there is nothing to report, or the digest was removed from the settings
        stored.close(store, claim.id, [], owner=owner, now=now)
        return BuiltDigest(claim.id)
    notice = _notice(settings.digests[claim.name], claim, problem)
    renderer = _DigestRenderer(store, settings, claim.name, digest_id=claim.id, now=claim.created_at, level=level, notice=notice)
    drafts: list[DraftMessage] = []
    html_keys: list[str] = []
    with _scratch(store.files.path(f"{FOLDER}/.rendering-{claim.id}")) as scratch:
        for mail in renderer.mails(contents, scratch=scratch, keep_under=f"{FOLDER}/{claim.id}"):
            if not stored.renew(store, claim.id, owner=owner, now=now):
                raise LeaseLostError(f"another process has taken over building the digest {claim.name} (claim {claim.id})")
            stem = f"{FOLDER}/{claim.id}-{len(drafts) + 1}"
            if mail.rendered.html:
                html_keys.append(f"{stem}.html")
                store.files.write(html_keys[-1], standalone(mail.rendered).encode())
            envelope = renderer.envelope(mail, number=len(drafts) + 1)
            with store.files.writing(f"{stem}.eml") as file:
                renderer.write(file, envelope, mail)
            drafts.append(DraftMessage(
                message_id=envelope.message_id, subject=mail.rendered.subject,
                sender=compose.bare_address(settings.mail.envelope_sender),
                recipients=tuple(dict.fromkeys(map(compose.bare_address, mail.recipients.everyone))),
                file_key=f"{stem}.eml", size_bytes=store.files.path(f"{stem}.eml").stat().st_size,
                recipients_of=mail.recipients_of))
            if max_bytes is not None and drafts[-1].size_bytes > max_bytes:
                raise _TooLargeError
    ids = stored.close(store, claim.id, drafts, owner=owner, now=now, error=problem)
    return BuiltDigest(claim.id, tuple(ids), tuple(html_keys), drafts[0].subject, contents[0].summary.counts, problem)


def _notice(table: DigestTable, claim: DigestClaim, problem: str) -> str:
    """Return the text that says why a mail shows less than usual; "" if it does not."""
    words = WORDINGS[table.language]
    template = words.built_again if claim.rebuild is not None else words.rendered_with_less
    return template.format(why=clean_line(problem, 300)) if problem else ""


def preview(store: Store, settings: Settings, name: str, folder: Path, *, now: datetime,
            since: datetime | None = None) -> list[Path]:
    """Render the mails that the next digest would consist of, and write them as files to `folder`.

    The store is not changed.

    Return the paths of the files: NAME.eml, NAME.html and NAME.txt for the first mail, NAME-2.eml and so on for further mails.
    since: report every run that ended at or after this time; None means the runs that this digest has not reported yet.

    Raises UsageError for an unknown digest or an error in a template, MailError for an invalid address or if a file cannot be
    written, StoreError.
    """
    table = settings.digests.get(name)
    if table is None:
        raise UsageError(f"no digest named {name!r}{nearest(name, settings.digests)}", where="settings.toml: digests")
    run_ids = stored.untold(store, name, table.spiders) if since is None else \
        stored.ended_since(store, table.spiders, since)
    renderer = _DigestRenderer(store, settings, name, digest_id=0, now=now)
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _scratch(folder / f".rendering-{name}") as scratch:
            contents = _contents(store, table, run_ids, even_empty=True)
            for number, mail in enumerate(renderer.mails(contents, scratch=scratch, keep_under=""), 1):
                stem = folder / (name if number == 1 else f"{name}-{number}")
                with stem.with_name(f"{stem.name}.eml").open("wb") as file:
                    renderer.write(file, renderer.envelope(mail, number=number), mail)
                paths.append(stem.with_name(f"{stem.name}.eml"))
                for extension, content in (("html", standalone(mail.rendered)), ("txt", mail.rendered.text)):
                    if content:
                        paths.append(stem.with_name(f"{stem.name}.{extension}"))
                        paths[-1].write_text(content, "utf-8")
    except OSError as error:
        raise MailError(f"the preview cannot be written: {error.strerror}", where=str(folder),
                        fix="choose another folder") from error
    return paths


def html_fields(spider: SpiderTable) -> set[str]:
    """Return the names of a spider's fields that contain HTML."""
    fields = spider.items.all_fields if spider.items is not None else {}
    return {name for name, rule in fields.items() if rule.type == "html"}


def standalone(rendered: Rendered) -> str:
    """Return the HTML of a mail with its pictures embedded, so that a browser can show the HTML as a file."""
    html = rendered.html
    for picture in rendered.pictures:
        html = html.replace(f"cid:{picture.name}", f"data:image/png;base64,{base64.b64encode(picture.png).decode()}")
    return html


def _contents(store: Store, table: DigestTable, run_ids: Sequence[int], *, even_empty: bool = False) -> list[_RecipientsContent]:
    """Return what to report to the digest's own recipients and to each group of recipients.

    Recipients for whom there is nothing new are left out, unless the digest has `empty = "send"`. even_empty: whether to include
    these recipients anyway.
    """
    runs = stored.runs_of(store, run_ids)
    changes = NetChanges(store, runs)
    files = stored.files_of(store, run_ids)
    rejected, fewer = rejected_items(store, runs), fewer_values(store, runs)
    found = []
    for position, recipients in enumerate((table, *table.groups)):
        if not recipients.everyone:
            continue
        filters = (table,) if recipients is table else (table, recipients)
        spiders = set(recipients.spiders or table.spiders)
        own: Iterable[Change] = changes
        by_item = any(wanted.filters_items for wanted in filters)
        if by_item or spiders != set(table.spiders):
            own = FilteredChanges(changes, filters)
        # A filter on items cannot be applied to downloaded files, so recipients with a filter on items get no files.
        summary = summarize(own, [run for run in runs if run.spider in spiders],
                            [file for file in files if file.spider in spiders and not by_item], keep=KEEP,
                            rejected=[items for items in rejected if items.spider in spiders],
                            fewer=[values for values in fewer if values.spider in spiders])
        if not all(wanted.problems for wanted in filters):
            summary.problems.clear()
            summary.rejected.clear()
            summary.fewer.clear()
        if summary.has_news or even_empty or table.empty == "send":
            found.append(_RecipientsContent(recipients, position, own, summary))
    return found


class _DigestRenderer:
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

    def mails(self, contents: Sequence[_RecipientsContent], *, scratch: Path, keep_under: str) -> Iterator[_Mail]:
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
                    yield _Mail(recipients, content.recipients_of, part, attachments)

    def _render(self, content: _RecipientsContent, *, scratch: Path, keep_under: str) -> tuple[Rendered, Packed]:
        table, summary, as_configured = self._table, content.summary, self._level.as_configured
        attach = table.attach if as_configured else ("csv",) if self._level.attach_csv else ()
        packed = self._packed(content, attach, scratch=scratch, keep_under=keep_under)
        charts = {}
        if table.charts and as_configured:
            charts = charts_of(self._store, summary.top[ChangeKind.CHANGED], table.charts, words=WORDINGS[table.language],
                               zone=self._zone, seed=compose.domain_of(self._settings.mail.from_))
        templates = self._settings.folder / table.templates if table.templates and as_configured else None
        html = {spider: html_fields(own) for spider, own in self._settings.spiders.items()} if as_configured else {}
        options = RenderOptions(
            name=self._name, subject=table.subject, language=table.language, zone=self._zone, now=self._now, templates=templates,
            charts=charts, html_fields=html, details=self._level.details, notice=self._notice)
        rendered = render(summary, packed, options)
        if not rendered.shows_items and not packed.table and self._level.details is not COUNTS_ONLY:
            packed = self._packed(content, (*attach, "csv"), scratch=scratch, keep_under=keep_under)
            rendered = render(summary, packed, options)
        return rendered, packed

    def _packed(self, content: _RecipientsContent, attach: Sequence[str], *, scratch: Path, keep_under: str) -> Packed:
        table, summary = self._table, content.summary
        packer = Packer(self._store, stem=f"{self._name}-{self._now.astimezone(self._zone):%Y-%m-%d}", scratch=scratch,
                        keep_under=keep_under, limit_bytes=table.attach_limit, oversize=table.oversize,
                        csv_bom=table.csv_bom)
        return packer.pack(attach, changes=content.changes, total=summary.total, files=summary.files, programs=table.attach_programs,
                           columns=Columns(summary.fields, frozenset(summary.fields_changed), frozenset(summary.fields_priced)))

    def envelope(self, mail: _Mail, *, number: int) -> compose.Envelope:
        settings, table = self._settings.mail, self._table
        return compose.Envelope(
            sender=settings.from_, to=mail.recipients.to, cc=mail.recipients.cc, reply_to=settings.reply_to,
            on_behalf=settings.sender, subject=mail.rendered.subject, date=self._now.astimezone(self._zone),
            message_id=compose.message_id(self._name, self._digest_id, number, self._now, settings.from_),
            list_name=self._name, unsubscribe=table.unsubscribe,
            references=compose.thread_id(self._name, settings.from_) if table.thread else "")

    def write(self, file: BinaryIO, envelope: compose.Envelope, mail: _Mail) -> None:
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


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Create an empty temporary folder for a `with` block, and delete the folder at the end of the block.

    If a killed process left the same folder behind, the content of the folder is deleted first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
