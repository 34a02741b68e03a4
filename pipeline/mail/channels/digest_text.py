"""The short text of a digest for notification channels."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pipeline.languages import wording
from pipeline.mail.channels.drafts import channel_drafts
from pipeline.mail.channels.text import MAX_LINES, ChannelText
from pipeline.mail.digests.contents import RecipientsContent
from pipeline.mail.digests.renderer import RenderLevel, field_rules
from pipeline.mail.message import compose
from pipeline.mail.render.fields.field_view import Detail
from pipeline.mail.render.render import COUNTS_ONLY, RenderOptions, headline, viewer_of
from pipeline.mail.render.subject import FirstChange, in_full
from pipeline.mail.summary import DigestSummary
from pipeline.model import DraftMessage
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.text import clean_line

_MAX_PROBLEMS, _LENGTH = 3, 120


def digest_drafts(store: Store, settings: Settings, content: RecipientsContent, *, name: str, digest_id: int, now: datetime, level: RenderLevel,
                  first: int) -> Iterator[DraftMessage]:
    """Yield the messages for the channels of a digest or of one of its groups. first: number of the first message within the digest."""
    return channel_drafts(
        store, settings, content_text(settings, content, name=name, now=now, level=level), content.table.notify, stem=f"messages/{digest_id}-notify",
        message_id=lambda number: compose.message_id(name, digest_id, number, now, settings.mail.from_), first=first, recipients_of=content.recipients_of)


def content_text(settings: Settings, content: RecipientsContent, *, name: str, now: datetime, level: RenderLevel) -> ChannelText:
    """Return the text for the channels of a digest or of one of its groups."""
    table = content.table
    rules = {spider: field_rules(own, table, formatted=level.as_configured) for spider, own in settings.spiders.items()}
    return digest_text(content.summary, RenderOptions(
        name=name, subject=table.subject, language=table.language, zone=table.zone(settings.zone), now=now, rules=rules, details=level.details),
        link=settings.heartbeat.page_url("/"))


def digest_text(summary: DigestSummary, options: RenderOptions, *, link: str = "") -> ChannelText:
    """Return the text of a digest: its subject, a line for each of the first changes, and the problems.

    link: URL of the page that shows more; "" if there is none.
    """
    words, viewer = wording(options.language), viewer_of(summary, options)
    problems = [problem for problem in summary.problems if not problem.recovered]
    named = [f"{problem.spider}{words.colon}{clean_line(problem.error, _LENGTH)}" for problem in problems[:_MAX_PROBLEMS]]
    head = headline(summary, viewer, options, words)
    first = [] if options.details is COUNTS_ONLY else [
        FirstChange(change, viewer.item(change, (), Detail(1))) for kind in summary.order for change in summary.top[kind][:MAX_LINES]][:MAX_LINES - len(named)]
    lines = [in_full(change, words, length=_LENGTH) for change in first]
    if len([*lines, *named]) <= 1 and "".join([*lines, *named]) in head["subject"]:
        lines = [head["preheader"]]  # what the subject does not say
    return ChannelText.of(head["subject"], [*lines, *named], total=summary.total + len(problems), more=words.more, link=link)
