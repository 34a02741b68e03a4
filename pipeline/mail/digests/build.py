"""Build digests: render what the claimed runs of a digest found, and add the messages to the outbox.

A digest is built in a child process, and never rendered inside a database transaction. The names of its files are derived from the
id of the claim. A digest that is built again after a crash therefore overwrites the files of the interrupted attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pipeline.ai.language_model import LanguageModel
from pipeline.errors import LeaseLostError, PipelineError, UsageError
from pipeline.mail.digests.asked_contents import asked_contents, asked_model
from pipeline.mail.digests.channel_text import digest_drafts
from pipeline.mail.digests.contents import RecipientsContent
from pipeline.mail.digests.notice import Notice
from pipeline.mail.digests.preview import standalone
from pipeline.mail.digests.recipients import with_only
from pipeline.mail.digests.renderer import RENDER_LEVELS, DigestRenderer, RenderLevel, scratch_folder
from pipeline.mail.digests.smaller_digest import with_less
from pipeline.mail.render.item_pictures import FetchPictures, PictureLoader
from pipeline.model import REBUILD_STEPS, ChangeKind, DigestClaim, DraftMessage
from pipeline.settings import Settings
from pipeline.settings.fields.addresses import bare_address
from pipeline.store import Store
from pipeline.store.files.scratch import scratch_of_digest
from pipeline.store.mail import digests as stored
from pipeline.text import clean_line

FOLDER = "messages"
MAILS_PER_CHECK = 100
"""After this many mails, the builder checks that no other process has taken over the claim."""

logger = logging.getLogger(__name__)


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


def build(store: Store, settings: Settings, claim: DigestClaim, *, owner: str, now: datetime,
          first: int = 0, problem: str = "", fetch_pictures: FetchPictures | None = None) -> BuiltDigest:
    """Render what the claimed runs found, enqueue the messages and close the claim.

    If rendering fails, for example because of an error in a user's template, the next level of RENDER_LEVELS is tried. The mail, the
    log and the digest's row in the database then contain the reason.

    claim: the runs to report. owner: the owner of the claim's lease. first: index of the first level to try; not 0 if earlier
    processes were killed while they built this digest. problem: why levels before `first` are not tried; "" if `first` is 0.
    fetch_pictures: fetches the pictures of items; None shows none.

    Raises LeaseLostError if another process has taken over the claim, MailError for an address that is not valid in a mail header,
    StoreError.
    """
    if claim.again is not None and claim.again.recipients:
        settings = with_only(settings, claim.name, frozenset(claim.again.recipients))
    steps = [(settings, None)] if claim.rebuild is None else [
        (with_less(settings, claim.name, claim.rebuild, step), claim.rebuild.max_bytes) for step in range(claim.rebuild.step, len(REBUILD_STEPS) - 1)]
    problem = problem or (claim.rebuild.reason if claim.rebuild is not None else "")
    pictures = PictureLoader(store.files, fetch_pictures) if fetch_pictures is not None else None
    model = asked_model(store, settings, claim.name)
    work = _Work(store, claim, owner, now)
    for own, max_bytes in steps:
        contents = _contents(work, own, model, summarize=first < len(RENDER_LEVELS) - 1)
        for level in RENDER_LEVELS[first:-1]:
            try:
                return _build(work, own, contents, level, problem=problem, max_bytes=max_bytes, pictures=pictures)
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
    return _build(work, own, _contents(work, own, model, summarize=False), RENDER_LEVELS[-1], problem=problem)


@dataclass(frozen=True)
class _Work:
    """The claim that is built. owner: of its lease. now: when the build began."""

    store: Store
    claim: DigestClaim
    owner: str
    now: datetime
    started_s: float = field(default_factory=time.monotonic)

    def renew_lease(self) -> None:
        """Raises LeaseLostError if another process has taken over the claim."""
        now = self.now + timedelta(seconds=time.monotonic() - self.started_s)  # a language model may take minutes
        if not stored.renew(self.store, self.claim.id, owner=self.owner, now=now):
            raise LeaseLostError(f"another process has taken over building the digest {self.claim.name} (claim {self.claim.id})")


def _contents(work: _Work, settings: Settings, model: LanguageModel | None, *, summarize: bool) -> list[RecipientsContent]:
    """Return what to report; [] if there is nothing, or if the digest was removed from the settings.

    A language model is asked here, once, and not at each level of rendering. Its answers are stored, so that a digest that is built again says the same.
    """
    claim = work.claim
    if claim.name not in settings.digests:
        return []
    digest_id = claim.id if claim.rebuild is None else claim.rebuild.digest_id
    return asked_contents(work.store, settings, claim.name, claim.run_ids, model, now=work.now, digest_id=digest_id, summarize=summarize,
                          renew=work.renew_lease)


class _TooLargeError(Exception):
    """A rendered message is larger than the mail server accepts."""


def _build(work: _Work, settings: Settings, contents: Sequence[RecipientsContent], level: RenderLevel, *, problem: str,
           max_bytes: int | None = None, pictures: PictureLoader | None = None) -> BuiltDigest:
    """Render the mails of a digest, enqueue them and close the claim. Raises _TooLargeError for a mail of more than `max_bytes` bytes."""
    store, claim = work.store, work.claim
    if not contents:
        stored.close(store, claim.id, [], owner=work.owner, now=work.now)
        return BuiltDigest(claim.id)
    level = replace(level, notice=Notice(problem, is_rebuilt=claim.rebuild is not None, is_again=claim.again is not None))
    renderer = DigestRenderer(store, settings, claim.name, digest_id=claim.id, now=claim.created_at, level=level, pictures=pictures)
    drafts: list[DraftMessage] = []
    html_keys: list[str] = []
    with scratch_folder(scratch_of_digest(store, claim.id)) as scratch:
        by_mail = [content for content in contents if content.table.everyone]
        for mail in renderer.mails(by_mail, scratch=scratch, keep_under=f"{FOLDER}/{claim.id}"):
            if len(drafts) % MAILS_PER_CHECK == 0:
                work.renew_lease()
            stem = f"{FOLDER}/{claim.id}-{len(drafts) + 1}"
            if mail.rendered.html and mail.is_first:
                html_keys.append(f"{stem}.html")
                store.files.write(html_keys[-1], standalone(mail.page).encode())
            envelope = renderer.envelope(mail, number=len(drafts) + 1)
            with store.files.writing(f"{stem}.eml", sync=False) as file:
                renderer.write(file, envelope, mail)
            drafts.append(DraftMessage(
                message_id=envelope.message_id, subject=clean_line(mail.rendered.subject),
                sender=bare_address(settings.mail.envelope_sender),
                recipients=tuple(dict.fromkeys(map(bare_address, mail.table.everyone))),
                file_key=f"{stem}.eml", size_bytes=store.files.size(f"{stem}.eml"),
                recipients_of=mail.recipients_of))
            if max_bytes is not None and drafts[-1].size_bytes > max_bytes:
                raise _TooLargeError
    store.files.sync(draft.file_key for draft in drafts)
    for content in contents:
        drafts += digest_drafts(store, settings, content, claim, level=level, first=len(drafts) + 1)
    ids = stored.close(store, claim.id, drafts, owner=work.owner, now=work.now, error=problem)
    return BuiltDigest(claim.id, tuple(ids), tuple(html_keys), drafts[0].subject, contents[0].summary.counts, problem)
