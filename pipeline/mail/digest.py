"""Building a digest: claimed runs in, messages in the outbox out. Runs in a child process at low priority.

Nothing is rendered inside a transaction. What is written before the claim is closed has names that come from
the claim, so that a build that was killed is simply done again over its own remains.
"""

from __future__ import annotations

import base64
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import LeaseLostError, MailError, PipelineError, UsageError
from pipeline.mail.filters import Filtered
from pipeline.mail.message import compose
from pipeline.mail.message.attachments import Attachment, Columns, Packed, Packer
from pipeline.mail.message.dkim import signer_of
from pipeline.mail.render.charts import charts_of
from pipeline.mail.render.render import COUNTS_ONLY, DETAILS, KEEP, Detail, Rendered, numbered, render, render_part
from pipeline.mail.render.translations import WORDINGS
from pipeline.mail.summary import NetChanges, News, gather, refusals
from pipeline.model import Change, ChangeKind, DigestClaim, DraftMessage
from pipeline.settings import DigestTable, RecipientsTable, Settings, SpiderTable, nearest
from pipeline.store import Store
from pipeline.store.mail import digests as stored
from pipeline.text import clean_line

FOLDER = "messages"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Presentation:
    """How much of what the settings ask for goes into the mails of a digest.

    as_set: the user's templates, charts, HTML fields and attachments; else our own template, without them. table: a
    CSV of all changes is attached.
    """

    as_set: bool
    table: bool
    details: tuple[Detail, ...]


PRESENTATIONS = (Presentation(as_set=True, table=False, details=DETAILS),
                 Presentation(as_set=False, table=True, details=DETAILS),
                 Presentation(as_set=False, table=False, details=COUNTS_ONLY))
"""From what the settings ask for to what always works: a digest that cannot be rendered falls back, it is not held back."""


@dataclass(frozen=True)
class Built:
    """What a claim came to. message_ids: rows of the outbox, none when there was nothing worth telling.

    html_keys: the same mails as HTML files, for a look without a mail client. subject, counts: of the first mail.
    problem: why it was not rendered as the settings ask for, "" when it was.
    """

    digest_id: int
    message_ids: tuple[int, ...] = ()
    html_keys: tuple[str, ...] = ()
    subject: str = ""
    counts: dict[ChangeKind, int] | None = None
    problem: str = ""


@dataclass(frozen=True)
class _Source:
    """What some recipients are told: the runs they follow and the changes that pass their filter."""

    recipients: RecipientsTable
    changes: Iterable[Change]
    news: News


@dataclass(frozen=True)
class _Mail:
    """One mail ready to be written."""

    recipients: RecipientsTable
    rendered: Rendered
    attachments: Sequence[Attachment]


def build(store: Store, settings: Settings, claim: DigestClaim, *, owner: str, now: datetime,
          first: int = 0, problem: str = "") -> Built:
    """Render what the claimed runs found, put it into the outbox and close the claim.

    What cannot be rendered as the settings ask for (a template that fails, contents no writer takes) is rendered
    with less; the mail, the log and the digest's row say why. first, problem: the first of PRESENTATIONS to try, and
    why not an earlier one. Raises LeaseLostError when somebody else took the claim up, MailError for addresses no mail
    can have, StoreError.
    """
    for presentation in PRESENTATIONS[first:-1]:
        try:
            return _build(store, settings, claim, presentation, problem, owner=owner, now=now)
        except UsageError as error:
            problem = str(error)
            logger.error("digest %s: %s; it is rendered without", claim.name, error)  # noqa: TRY400  a user's mistake
        except (PipelineError, OSError):
            raise  # of the store, the disk or the addresses: less content changes nothing
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            logger.exception("digest %s could not be rendered; it is tried with less", claim.name)
    return _build(store, settings, claim, PRESENTATIONS[-1], problem, owner=owner, now=now)


def _build(store: Store, settings: Settings, claim: DigestClaim, presentation: Presentation, problem: str, *, owner: str,
           now: datetime) -> Built:
    table = settings.digests.get(claim.name)
    sources = _sources(store, table, claim.run_ids) if table is not None else []
    if table is None or not sources:
        # A digest taken out of the settings has nobody left to tell.
        stored.close(store, claim.id, [], owner=owner, now=now)
        return Built(claim.id)
    composer = _Composer(store, settings, claim.name, table, digest_id=claim.id, now=claim.created_at,
                         presentation=presentation, problem=problem)
    drafts: list[DraftMessage] = []
    html_keys: list[str] = []
    with _scratch(store.files.path(f"{FOLDER}/.rendering-{claim.id}")) as scratch:
        for mail in composer.mails(sources, scratch=scratch, keep_under=f"{FOLDER}/{claim.id}"):
            if not stored.renew(store, claim.id, owner=owner, now=now):
                raise LeaseLostError(f"digest {claim.name} ({claim.id}) was taken up by someone else")
            stem = f"{FOLDER}/{claim.id}-{len(drafts) + 1}"
            if mail.rendered.html:
                html_keys.append(f"{stem}.html")
                store.files.write(html_keys[-1], standalone(mail.rendered).encode())
            envelope = composer.envelope(mail, number=len(drafts) + 1)
            with store.files.writing(f"{stem}.eml") as file:
                composer.write(file, envelope, mail)
            drafts.append(DraftMessage(
                message_id=envelope.message_id, subject=mail.rendered.subject,
                sender=compose.bare_address(settings.mail.envelope_sender),
                recipients=tuple(dict.fromkeys(map(compose.bare_address, mail.recipients.everyone))),
                file_key=f"{stem}.eml", size_bytes=store.files.path(f"{stem}.eml").stat().st_size))
    ids = stored.close(store, claim.id, drafts, owner=owner, now=now, error=problem)
    return Built(claim.id, tuple(ids), tuple(html_keys), drafts[0].subject, sources[0].news.counts, problem)


def preview(store: Store, settings: Settings, name: str, folder: Path, *, now: datetime,
            since: datetime | None = None) -> list[Path]:
    """Write NAME.eml, NAME.html and NAME.txt into `folder`; the store stays as it is.

    Of a digest with several mails, the second is NAME-2 and so on. since: tell of every run that ended from then
    on; without it, of those this digest has not told of yet. Raises UsageError for an unknown digest, MailError
    when a file cannot be written, and what `build` raises.
    """
    table = settings.digests.get(name)
    if table is None:
        raise UsageError(f"no digest named {name!r}{nearest(name, settings.digests)}", where="settings.toml: digests")
    run_ids = stored.untold(store, name, table.spiders) if since is None else \
        stored.ended_since(store, table.spiders, since)
    composer = _Composer(store, settings, name, table, digest_id=0, now=now)
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _scratch(folder / f".rendering-{name}") as scratch:
            sources = _sources(store, table, run_ids, even_empty=True)
            for number, mail in enumerate(composer.mails(sources, scratch=scratch, keep_under=""), 1):
                stem = folder / (name if number == 1 else f"{name}-{number}")
                with stem.with_name(f"{stem.name}.eml").open("wb") as file:
                    composer.write(file, composer.envelope(mail, number=number), mail)
                paths.append(stem.with_name(f"{stem.name}.eml"))
                for ending, content in (("html", standalone(mail.rendered)), ("txt", mail.rendered.text)):
                    if content:
                        paths.append(stem.with_name(f"{stem.name}.{ending}"))
                        paths[-1].write_text(content, "utf-8")
    except OSError as error:
        raise MailError(f"the preview cannot be written: {error.strerror}", where=str(folder),
                        fix="choose another folder") from error
    return paths


def html_fields(spider: SpiderTable) -> set[str]:
    """The fields of a spider's items that hold HTML."""
    fields = spider.items.all_fields if spider.items is not None else {}
    return {name for name, rule in fields.items() if rule.type == "html"}


def standalone(rendered: Rendered) -> str:
    """The HTML with its pictures inside, as a file to look at."""
    html = rendered.html
    for picture in rendered.pictures:
        html = html.replace(f"cid:{picture.name}", f"data:image/png;base64,{base64.b64encode(picture.png).decode()}")
    return html


def _sources(store: Store, table: DigestTable, run_ids: Sequence[int], *, even_empty: bool = False) -> list[_Source]:
    """For the digest's own recipients and for each group: what they are told, where that is worth a mail."""
    told = stored.runs_of(store, run_ids)
    changes = NetChanges(store, told)
    files = stored.files_of(store, run_ids)
    refused = refusals(store, told)
    found = []
    for recipients in ((table, *table.groups) if table.everyone else table.groups):
        filters = (table,) if recipients is table else (table, recipients)
        spiders = set(recipients.spiders or table.spiders)
        own: Iterable[Change] = changes
        by_item = any(wanted.filters_items for wanted in filters)
        if by_item or spiders != set(table.spiders):
            own = Filtered(changes, filters)
        # A file belongs to no item that a filter on items could judge.
        news = gather(own, [run for run in told if run.spider in spiders],
                      [file for file in files if file.spider in spiders and not by_item], keep=KEEP,
                      refused=[one for one in refused if one.spider in spiders])
        if not all(wanted.problems for wanted in filters):
            news.troubles.clear()
            news.refused.clear()
        if news.worth_telling or even_empty or table.empty == "send":
            found.append(_Source(recipients, own, news))
    return found


class _Composer:
    """Makes the mails of one digest."""

    def __init__(self, store: Store, settings: Settings, name: str, table: DigestTable, *, digest_id: int,
                 now: datetime, presentation: Presentation = PRESENTATIONS[0], problem: str = "") -> None:
        self._store = store
        self._settings = settings
        self._name = name
        self._table = table
        self._digest_id = digest_id
        self._now = now
        self._zone = table.zone(settings.zone)
        self._signer = signer_of(settings)
        self._presentation = presentation
        self._problem = problem

    def mails(self, sources: Sequence[_Source], *, scratch: Path, keep_under: str) -> Iterator[_Mail]:
        """Each mail, in the order in which they are numbered."""
        for place, source in enumerate(sources, 1):
            folder = scratch / str(place)
            folder.mkdir(mode=0o700)
            kept = keep_under if place == 1 or not keep_under else f"{keep_under}-{place}"
            rendered, packed = self._render(source, scratch=folder, keep_under=kept)
            total = 1 + len(packed.further)
            yield _Mail(source.recipients, replace(rendered, subject=numbered(rendered.subject, 1, total)),
                        packed.attachments)
            for number, attachments in enumerate(packed.further, 2):
                part = render_part(rendered, attachments, number=number, total=total, language=self._table.language)
                yield _Mail(source.recipients, part, attachments)

    def _render(self, source: _Source, *, scratch: Path, keep_under: str) -> tuple[Rendered, Packed]:
        table, news, as_set = self._table, source.news, self._presentation.as_set
        attach = table.attach if as_set else ("csv",) if self._presentation.table else ()
        packed = self._packed(source, attach, scratch=scratch, keep_under=keep_under)
        charts = {}
        if table.charts and as_set:
            charts = charts_of(self._store, news.top[ChangeKind.CHANGED], table.charts, words=WORDINGS[table.language],
                               zone=self._zone, seed=compose.domain_of(self._settings.mail.from_))
        templates = self._settings.folder / table.templates if table.templates and as_set else None
        rich = {spider: html_fields(own) for spider, own in self._settings.spiders.items()} if as_set else {}
        notice = WORDINGS[table.language].rendered_with_less.format(why=clean_line(self._problem, 300)) if self._problem else ""
        rendering = partial(render, news, name=self._name, subject=table.subject, language=table.language, zone=self._zone,
                            now=self._now, templates=templates, charts=charts, rich=rich,
                            details=self._presentation.details, notice=notice)
        rendered = rendering(packed)
        if not rendered.shows_items and not packed.table and self._presentation.details is not COUNTS_ONLY:
            packed = self._packed(source, (*attach, "csv"), scratch=scratch, keep_under=keep_under)
            rendered = rendering(packed)
        return rendered, packed

    def _packed(self, source: _Source, attach: Sequence[str], *, scratch: Path, keep_under: str) -> Packed:
        table, news = self._table, source.news
        packer = Packer(self._store, stem=f"{self._name}-{self._now.astimezone(self._zone):%Y-%m-%d}", scratch=scratch,
                        keep_under=keep_under, limit_bytes=table.attach_limit, oversize=table.oversize,
                        csv_bom=table.csv_bom)
        return packer.pack(attach, changes=source.changes, total=news.total, files=news.files,
                           columns=Columns(news.fields, frozenset(news.fields_changed), frozenset(news.fields_priced)))

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


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder of its own for what is written on the way; remains of a build that was killed go first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
