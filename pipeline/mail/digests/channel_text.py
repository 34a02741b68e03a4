"""Write the short text of a digest for notification channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from pipeline.display.field_view import Detail
from pipeline.display.formats import rules_of
from pipeline.languages import Wording, wording
from pipeline.mail.channels.drafts import channel_drafts
from pipeline.mail.channels.text import MAX_LINES, ChannelText
from pipeline.mail.digests.contents import RecipientsContent
from pipeline.mail.digests.left_out_notes import left_out_notes
from pipeline.mail.digests.renderer import RenderLevel
from pipeline.mail.message import compose
from pipeline.mail.render import digest_view
from pipeline.mail.render.model_summary_view import SummaryOptions, missing_text
from pipeline.mail.render.render import COUNTS_ONLY, RenderOptions, by_rank, headline, viewer_of
from pipeline.mail.render.subject import FirstChange, in_full
from pipeline.mail.summary import DigestSummary
from pipeline.model import DigestClaim, DraftMessage
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.text import clean_excerpt, clean_line

_MAX_PROBLEMS, _MAX_CLAIMS, _LENGTH, _NAME_LENGTH = 3, 2, 120, 40


def digest_drafts(store: Store, settings: Settings, content: RecipientsContent, claim: DigestClaim, *, level: RenderLevel,
                  first: int) -> Iterator[DraftMessage]:
    """Return the messages for the channels of a digest or of one of its groups. first: number of the first message within the digest."""
    if not content.table.notify:
        return iter(())
    text = content_text(settings, content, name=claim.name, now=claim.created_at, level=level)
    return channel_drafts(
        store, settings, text, content.table.notify, stem=f"messages/{claim.id}-notify", first=first, recipients_of=content.recipients_of,
        message_id=lambda number: compose.message_id(claim.name, claim.id, number, claim.created_at, settings.mail.from_))


def content_text(settings: Settings, content: RecipientsContent, *, name: str, now: datetime, level: RenderLevel) -> ChannelText:
    """Return the text for the channels of a digest or of one of its groups."""
    table, words = content.table, wording(content.table.language)
    rules = {spider: rules_of(own, table.over(own.display), formatted=level.as_configured) for spider, own in settings.spiders.items()}
    found = digest_text(content.summary, RenderOptions(
        name=name, subject=table.subject, language=table.language, zone=table.zone(settings.zone), now=now, rules=rules, details=level.details,
        model_summary=SummaryOptions(content.model_summary) if content.model_summary is not None and level.details is not COUNTS_ONLY else None,
        notes=list(left_out_notes(content.left_out, words, ""))),
        link=settings.heartbeat.page_url("/"))
    return replace(found, subject=words.subject_again.format(subject=found.subject)) if level.notice.is_again else found


def digest_text(summary: DigestSummary, options: RenderOptions, *, link: str = "") -> ChannelText:
    """Return the text of a digest: its subject, the first sentences of a summary, a line for each of the first changes, the problems and the notes.

    link: URL of the page that shows more; "" if there is none.
    """
    words, viewer = wording(options.language), viewer_of(summary, options)
    lasting = replace(summary, problems=[problem for problem in summary.problems if not problem.recovered])
    problems = digest_view.problems(lasting, words, options.notice)
    named = [words.colon.join(filter(None, (problem.spider, problem.text))) for problem in problems[:_MAX_PROBLEMS]]
    notes = [note.text for note in options.notes]
    head = headline(summary, viewer, options, words)
    missing = missing_text(options.model_summary, words)
    named += [missing] if missing else []
    said = _model_lines(options.model_summary, words)
    changes = by_rank(summary, options) or [change for kind in summary.order for change in summary.top[kind]]
    changes = changes[:MAX_LINES - len(named) - len(said) - len(notes)]
    first = [] if options.details is COUNTS_ONLY else [FirstChange(change, viewer.item(change, (), Detail(1))) for change in changes]
    lines = [in_full(change, words, length=_LENGTH) for change in first]
    if not named and not said and len(lines) <= 1 and "".join(lines) in head["subject"]:  # the subject says it all, or there are only counts
        return ChannelText.of(head["subject"], [head["preheader"], *notes], total=1 + len(notes), more=words.more, link=link)
    total = summary.total + len(problems) + bool(missing) + len(notes)
    return ChannelText.of(head["subject"], [*lines, *named, *notes], total=total, more=words.more, link=link, before=said)


def _model_lines(options: SummaryOptions | None, words: Wording) -> list[str]:
    """Return the first sentences of a language model, each with its name."""
    if options is None:
        return []
    summary = options.summary
    return [words.model_summary_claim.format(text=clean_excerpt(claim.text, _LENGTH), model=clean_line(summary.model, _NAME_LENGTH))
            for claim in summary.claims[:_MAX_CLAIMS]]
