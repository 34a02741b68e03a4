"""Render a digest or an alert as a subject, a text and HTML of less than `HTML_LIMIT` bytes.

Templates are rendered in a sandbox with autoescaping. Scraped text is passed to templates as data and never used as a template.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

from css_inline import CSSInliner
from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.display.field_view import Detail
from pipeline.display.file_types import file_type
from pipeline.display.formats import FieldRules
from pipeline.errors import UsageError
from pipeline.languages import AlertWording, Wording, figures, wording
from pipeline.mail.message.attachments import Attachment, Packed
from pipeline.mail.message.compose import SUBJECT_LENGTH, Picture
from pipeline.mail.render import digest_view, file_view
from pipeline.mail.render.alert_view import with_code
from pipeline.mail.render.archive_links import ArchiveLinks
from pipeline.mail.render.charts import Chart
from pipeline.mail.render.file_view import FileLinks
from pipeline.mail.render.footer import FooterOptions, footer_view
from pipeline.mail.render.group_view import Grouping, ShownItems
from pipeline.mail.render.item_pictures import Pictures
from pipeline.mail.render.item_view import SHORT, SHORTEST, ItemView, ItemViewer
from pipeline.mail.render.model_summary_view import ModelSummaryView, SummaryOptions, model_summary_view, with_number
from pipeline.mail.render.notes import Note
from pipeline.mail.render.page_comparison import PagePictures
from pipeline.mail.render.page_shot import PageShot
from pipeline.mail.render.subject import FEW, FIRST, FirstChange, preheader, subject_of, subject_text, summary_line
from pipeline.mail.render.thumbnails import ItemPicture
from pipeline.mail.render.word_gaps import separate_words
from pipeline.mail.summary import DigestSummary
from pipeline.mail.top_changes import KEEP, NAMED
from pipeline.model import Change, ChangeKind
from pipeline.settings import Language
from pipeline.text import clean_subject, clean_text, isolated

HTML_LIMIT = 100_000
"""Limit for the HTML of a mail in bytes, because Gmail cuts off mails that are larger than 102 kB."""
COMPACT_FROM = 12
"""If a mail has more changes of one kind than this, each item of this kind is shown on one line."""
_ITEM_BYTES = 100
"""An item that is only named takes about so many bytes of HTML at least. It takes long to render thousands of them that have no room anyway."""
DETAILS = (*(Detail(items, named=NAMED) for items in (KEEP, 40, 25, 15, 8, 4)), Detail(15, places=4, length=SHORT, named=NAMED),
           Detail(4, places=4, length=SHORT, named=NAMED), Detail(4, places=4, length=SHORTEST, named=NAMED), Detail(1, places=3, length=SHORTEST, named=NAMED),
           Detail(40, named=150), Detail(15, named=120), Detail(25, named=100), Detail(15, named=60), Detail(8, named=60),
           Detail(4, places=4, length=SHORT, named=60), Detail(1, named=60), Detail(1, places=3, length=SHORTEST, named=60), Detail(1, places=3, length=SHORTEST),
           Detail(0, length=SHORTEST, named=NAMED), Detail(0))
"""Amounts of detail, in order of preference: first those that name all changes of a summary, with fewer and fewer of them in full, then the largest
first. The first of them with which the HTML is smaller than HTML_LIMIT is used."""
COUNTS_ONLY = (Detail(0),)
_EVERY_PLACE = Detail(1, places=1000)
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class RenderOptions:
    """How to render a digest.

    name: name of the digest. subject: the user's template of the subject, which may contain {name}, {date} and {summary}; None means
    the default subject. templates: folder whose files digest.html and digest.txt replace the built-in templates; None means the
    built-in templates. charts: the charts of each change, by the change's id. rules: by spider, how the fields of its items are shown.
    details: the amounts of detail to try, in this order. notice: a problem of the digest itself, which is shown before all other
    problems; "" if there is none. is_again: whether a person requested the mail again. grouping: the groups of spiders. links: the
    links of files. footer: what the footer offers. pictures: the pictures of items. page_pictures: the pictures of their pages.
    model_summary: what a language model said about the changes; None if it was not asked. notes: lines after the items.
    archive: makes the links to archived pages.
    """

    name: str
    subject: str | None
    language: Language
    zone: tzinfo
    now: datetime
    templates: Path | None = None
    charts: Mapping[int, Sequence[Chart]] = field(default_factory=dict)
    rules: Mapping[str, FieldRules] = field(default_factory=dict)
    details: Sequence[Detail] = DETAILS
    notice: str = ""
    is_again: bool = False
    grouping: Grouping = field(default_factory=Grouping)
    links: FileLinks = field(default_factory=FileLinks)
    footer: FooterOptions = field(default_factory=FooterOptions)
    pictures: Pictures = field(default_factory=Pictures)
    page_pictures: PagePictures = field(default_factory=PagePictures)
    model_summary: SummaryOptions | None = None
    notes: Sequence[Note] = ()
    archive: ArchiveLinks = field(default_factory=ArchiveLinks)


@dataclass(frozen=True)
class Rendered:
    """The content of a mail.

    html: "" for a mail without HTML. shows_items: False if there are changes, but the mail shows only how many.
    """

    subject: str
    text: str
    html: str
    pictures: list[Picture]
    shows_items: bool = True

    def with_text(self, mark: str, text: str) -> Rendered:
        """Return the content with a mark replaced by a text of letters, digits and characters that need no escaping in HTML."""
        return replace(self, text=self.text.replace(mark, text), html=self.html.replace(mark, text))


def render(summary: DigestSummary, packed: Packed, options: RenderOptions) -> Rendered:
    """Render a digest with as much detail as `HTML_LIMIT` allows.

    Raises UsageError if a user's template cannot be rendered, or if its HTML is too large even without items.
    """
    words = wording(options.language)
    environment = _environment(options.templates)
    inliner = _inliner()
    viewer = viewer_of(summary, options)
    numbers = options.model_summary.numbers if options.model_summary is not None else {}

    @cache
    def item(kind: ChangeKind, position: int, places: int, length: int) -> ItemView:
        change = summary.top[kind][position]
        view = viewer.item(change, options.charts.get(change.id, ()), Detail(1, places, length), options.pictures.items.get(change.id),
                           options.page_pictures.shots.get(change.id, ()))
        return with_number(view, change, numbers)

    briefs: dict[tuple[int, int], ItemView] = {}

    def brief(change: Change, *, length: int) -> ItemView:
        if (change.id, length) not in briefs:
            briefs[change.id, length] = with_number(viewer.brief(change, length), change, numbers)
        return briefs[change.id, length]

    texts = headline(summary, viewer, options, words)
    view: dict[str, Any] = {}
    html = ""
    for detail in options.details:
        items = ShownItems(summary, options.grouping, detail.items, partial(item, places=detail.places, length=detail.length), numbers,
                           named=detail.named, brief=partial(brief, length=detail.length))
        if len(items.shown) * _ITEM_BYTES >= HTML_LIMIT:
            continue
        view = texts | _digest_view(summary, packed, items, options, words, max_files=max(detail.items, 1)) | _summary_view(summary, items, options, viewer)
        html = _html(environment, inliner, _without_model_lines(view))
        if len(html.encode()) < HTML_LIMIT:
            break
    if len(html.encode()) >= HTML_LIMIT:
        raise UsageError(f"the HTML of the mail has {len(html.encode())} bytes even without items; the limit is {HTML_LIMIT}",
                         where=f"digest {options.name}", fix="shorten the template")
    if _without_model_lines(view) != view:
        html = _html(environment, inliner, view)
    text = _BLANK_LINES.sub("\n\n", _run(environment, "digest.txt", view).strip()) + "\n"
    shown: list[Chart | ItemPicture | PageShot] = [*chain.from_iterable(options.charts.values()), *options.pictures.items.values(),
                                                   *chain.from_iterable(options.page_pictures.shots.values())]
    pictures = list({each.cid: each.picture for each in shown if each.cid in html}.values())
    return Rendered(view["subject"], text, html, pictures, shows_items=bool(detail.items or not summary.total))


def _html(environment: ImmutableSandboxedEnvironment, inliner: CSSInliner, view: dict[str, Any]) -> str:
    return separate_words(inliner.inline(_run(environment, "digest.html", view)))


def _without_model_lines(view: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of the templates without the lines that say what a language model left out or did not answer.

    These few lines do not decide how much the mail shows, so that it is otherwise the same as if no model had been asked. HTML_LIMIT leaves room for them.
    """
    summary: ModelSummaryView | None = view["model_summary"]
    return view | {"notes": (), "model_summary": None if summary is not None and summary.missing else summary}


def render_template(template: str, summary: DigestSummary, options: RenderOptions) -> str:
    """Render only one of the templates digest.html and digest.txt, without attachments. Raises UsageError."""
    viewer, words, packed = viewer_of(summary, options), wording(options.language), Packed()
    shown = ShownItems(summary, options.grouping, KEEP, lambda kind, position: viewer.item(summary.top[kind][position], (), Detail(1)))
    view = headline(summary, viewer, options, words) | _digest_view(summary, packed, shown, options, words, max_files=KEEP) \
        | _summary_view(summary, shown, options, viewer)
    return _run(_environment(options.templates), template, view)


def viewer_of(summary: DigestSummary, options: RenderOptions) -> ItemViewer:
    return ItemViewer(wording(options.language), options.rules, options.zone, archive=options.archive, show_spider=len(summary.spiders) > 1, compact_kinds=frozenset(
        kind for kind, count in summary.counts.items() if count > COMPACT_FROM and kind is not ChangeKind.CHANGED))


def headline(summary: DigestSummary, viewer: ItemViewer, options: RenderOptions, words: Wording) -> dict[str, str]:
    """Return the variables of the templates that say what the digest is about. If only counts are shown, no item is read."""
    changes = [change for kind in summary.order for change in summary.top[kind]]
    if (chosen := by_rank(summary, options)) is not None:
        changes = chosen
    elif summary.total > FEW and not summary.important:
        changes = options.grouping.in_turn(changes)
    first = [] if options.details is COUNTS_ONLY else [FirstChange(change, viewer.item(change, (), _EVERY_PLACE)) for change in changes[:FIRST]]
    counts, period = summary_line(summary, words), digest_view.period(summary, words, options.zone)
    text = subject_text(summary, first, words) if first or not summary.total else counts
    subject = subject_of(options.subject, options.name, text, date=f"{options.now.astimezone(options.zone):%Y-%m-%d}")
    others = [view.text for view in digest_view.problems(summary, words, options.notice)] if summary.problems or summary.rejected else \
        digest_view.checked(summary, words, options.zone)
    otherwise = " · ".join(part for part in (counts if summary.total > 1 and counts not in subject else "", *summary.spiders[:FEW], period) if part)
    return {"summary": counts, "period": period, "heading": digest_view.heading(options.name), "subject": clean_subject(subject, SUBJECT_LENGTH),
            "preheader": preheader(subject, first, others, words, otherwise=otherwise)}


def by_rank(summary: DigestSummary, options: RenderOptions) -> list[Change] | None:
    """Return the changes of all kinds as a language model ranked them; None if it did not, or if important fields decide the order."""
    places = options.model_summary.places if options.model_summary is not None and not summary.important else {}
    if not places:
        return None
    return sorted((change for kind in summary.order for change in summary.top[kind]), key=lambda change: places.get(change.id, len(places)))


def _digest_view(summary: DigestSummary, packed: Packed, shown: ShownItems, options: RenderOptions,
                 words: Wording, *, max_files: int) -> dict[str, Any]:
    """Return the variables of the templates digest.html and digest.txt.

    The names of these variables must not change, because users' own templates depend on them.
    """
    return {
        "lang": words.lang, "words": words, "name": options.name,
        "groups": shown.groups(words, packed.table), "sections": shown.sections(words, packed.table),
        "checked": digest_view.checked(summary, words, options.zone),
        "troubles": digest_view.problems(summary, words, options.notice),
        "downloads": file_view.downloads(summary, packed, words, options.links, max_files),
        "attachments": file_view.attachments(packed, words, options.links), "footer": words.footer.format(name=options.name),
        "foot": footer_view(options.name, options.footer, words), "unsubscribe": options.footer.unsubscribe,
        "again": words.sent_again if options.is_again else "", "notes": tuple(options.notes),
        "pictures_note": words.comma.join(filter(None, dict.fromkeys([options.page_pictures.note, options.pictures.note]))),
    }


def _summary_view(summary: DigestSummary, shown: ShownItems, options: RenderOptions, viewer: ItemViewer) -> dict[str, Any]:
    """Return the variable of the templates with the summary of a language model."""

    def item(change_id: int) -> ItemView | None:
        found = next((change for changes in (*summary.top.values(), *summary.further.values()) for change in changes if change.id == change_id), None)
        return viewer.item(found, (), Detail(1)) if found is not None else None

    return {"model_summary": model_summary_view(options.model_summary, summary.total, shown.shown, item, viewer.words)}


def render_part(rendered: Rendered, attachments: Sequence[Attachment], *, number: int, total: int,
                language: Language) -> Rendered:
    """Render a further mail of a digest, which contains attachments for which the first mail has no room.

    rendered: the first mail. number, total: number of this mail, and number of all mails of the digest.
    """
    words = wording(language)
    lines = [words.part.format(n=number, total=total), ""]
    lines += [f"* {file.name} ({file_type(file.name, file.content_type, words)} · {figures.size(file.size_bytes, words.lang)})" for file in attachments]
    return Rendered(numbered(rendered.subject, number, total), "\n".join(lines) + "\n", "", [])


def render_alert(summary: str, started: Sequence[object], ended: Sequence[object], *, preheader: str, more: str, footer: Sequence[str],
                 words: AlertWording) -> Rendered:
    """Render an alert about problems that started and problems that ended.

    summary: the subject. preheader: the text that mail clients show beside the subject. more: text about further problems that the
    mail does not describe; "" if there are none. footer: its lines.
    """
    environment = _environment(None)
    view = {"summary": summary, "started": list(started), "over": list(ended), "more": more, "preheader": preheader, "footer": footer,
            "words": words}
    return Rendered(summary, clean_text(_run(environment, "alert.txt", view)).strip() + "\n",
                    separate_words(_inliner().inline(clean_text(_run(environment, "alert.html", view)))), [])


def sent_again(rendered: Rendered, language: Language) -> Rendered:
    """Mark the subject of a mail that a person requested again."""
    subject = wording(language).subject_again.format(subject=clean_subject(rendered.subject, SUBJECT_LENGTH - 20))
    return replace(rendered, subject=subject)


def numbered(subject: str, number: int, total: int) -> str:
    """Return the subject with a suffix such as " (2/3)"; unchanged if the digest has only one mail.

    A long subject is shortened before the suffix is added, so that the suffix is never cut off.
    """
    return subject if total == 1 else f"{clean_subject(subject, SUBJECT_LENGTH - 10)} ({number}/{total})"


def _inliner() -> CSSInliner:
    return CSSInliner(keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False)


def _environment(templates: Path | None) -> ImmutableSandboxedEnvironment:
    if templates is not None and not templates.is_dir():
        raise UsageError("the templates folder does not exist", where=str(templates),
                         fix="create the folder, or correct the templates setting of the digest")
    folders = [templates] if templates else []
    loader = ChoiceLoader([FileSystemLoader(folder) for folder in [*folders, Path(__file__).parent / "templates"]])
    environment = ImmutableSandboxedEnvironment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=lambda template: bool(template and template.endswith(".html")))
    environment.filters |= {"isolated": isolated, "code": with_code}
    return environment


def _run(environment: ImmutableSandboxedEnvironment, template: str, view: dict[str, Any]) -> str:
    try:
        return environment.get_template(template).render(view)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise UsageError(f"the template cannot be rendered: {_reason(error)}", where=_place(error, template),
                         fix="correct the template, or remove the file") from error


def _reason(error: Exception) -> str:
    if isinstance(error, TemplateNotFound):
        return f"there is no template {error.name}"
    return (error.message if isinstance(error, TemplateError) else None) or f"{type(error).__name__}: {error}"


def _place(error: Exception, template: str) -> str:
    """Return the file and the line of an error in a template: for example "digest.html, line 3"."""
    if isinstance(error, TemplateSyntaxError):
        return f"{error.name or template}, line {error.lineno}"
    # Jinja replaces the frames of the compiled template in the traceback by frames with the file and the line of its source.
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).suffix in (".html", ".txt")]
    return f"{Path(lines[-1].filename).name}, line {lines[-1].lineno}" if lines else template
