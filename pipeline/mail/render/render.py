"""A digest as subject, text and HTML: what changed at a glance, on a phone, in the dark, as plain text.

Templates get plain strings and are autoescaped and sandboxed; scraped text is data to them, never a template.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from css_inline import CSSInliner
from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from pipeline.errors import UsageError
from pipeline.mail.field_text import field_text, safe_link
from pipeline.mail.message.compose import SUBJECT_LENGTH, Picture
from pipeline.mail.render.charts import Chart
from pipeline.mail.render.field_diff import LIMIT, Place, places
from pipeline.mail.render.sanitize import plain, sanitised
from pipeline.mail.render.translations import WORDINGS, AlertWording, Wording
from pipeline.mail.summary import ORDER, News, Refused
from pipeline.model import Change, ChangeKind, StoredFile
from pipeline.price import currency_of
from pipeline.settings import Language
from pipeline.text import clean_line, clean_text, size_for_people

if TYPE_CHECKING:  # writing sheets takes long to import, and the service only renders alerts
    from pipeline.mail.message.attachments import Attachment, Packed

HTML_LIMIT = 100_000
"""Bytes; above 102 kB Gmail clips a mail."""
KEEP = 60
"""Changes of one kind a mail shows at most."""
COMPACT_FROM = 12
"""Of more changes of one kind than this, each item has its fields on one line."""
_TITLES = ("title", "name", "headline", "subject", "标题", "名称")
_LINKS = ("url", "link", "href", "链接")
_MAX_TROUBLES = 20
_MAX_PLACES = 12
_MAX_LINES = 12
_COMPACT = 80
_MAX_REASONS = 3
_MAX_FIELDS = {ChangeKind.NEW: 6, ChangeKind.BACK: 6, ChangeKind.CHANGED: 10, ChangeKind.GONE: 2}


@dataclass(frozen=True)
class Detail:
    """How much one attempt at a mail shows. items: changes of each kind; places: of each changed field; length:
    characters of each side of a place."""

    items: int
    places: int = _MAX_PLACES
    length: int = LIMIT


DETAILS = (Detail(KEEP), Detail(40), Detail(25), Detail(15), Detail(8), Detail(4), Detail(4, places=4, length=120), Detail(1),
           Detail(1, places=3, length=120), Detail(0))
"""From all that fits into most mails down to counts only: the first that stays under HTML_LIMIT is sent."""
COUNTS_ONLY = (Detail(0),)


@dataclass(frozen=True)
class FieldView:
    """One field: its value as text, or for a changed one the places where it differs.

    html, lines: the value of a field of type "html", safe to show, and what it says. more: how many places are not
    shown.
    """

    name: str
    value: str = ""
    link: str = ""
    places: list[Place] = field(default_factory=list)
    html: Markup | None = None
    lines: list[str] = field(default_factory=list)
    more: str = ""


@dataclass(frozen=True)
class ItemView:
    """compact: one of many, its fields on one line."""

    title: str
    link: str
    spider: str
    fields: list[FieldView]
    charts: Sequence[Chart] = ()
    compact: bool = False


@dataclass(frozen=True)
class Section:
    """All that is shown of one kind of change."""

    kind: str
    heading: str
    count: int
    items: list[ItemView]
    more: str


@dataclass(frozen=True)
class TroubleView:
    """What went wrong with a spider; spider is "" for what says how many more there are."""

    spider: str
    text: str


@dataclass(frozen=True)
class FileView:
    name: str
    detail: str


@dataclass(frozen=True)
class Rendered:
    """A mail's content. shows_items: False where there was room for counts only."""

    subject: str
    text: str
    html: str
    pictures: list[Picture]
    shows_items: bool = True


def render(news: News, packed: Packed, *, name: str, subject: str | None, language: Language, zone: tzinfo,
           now: datetime, templates: Path | None = None, charts: Mapping[int, Sequence[Chart]] = MappingProxyType({}),
           rich: Mapping[str, Collection[str]] = MappingProxyType({}), details: Sequence[Detail] = DETAILS,
           notice: str = "") -> Rendered:
    """Render a digest with the most detail that stays under `HTML_LIMIT`.

    subject: the user's own, where {name}, {date} and {summary} are filled in. templates: a folder whose
    digest.html or digest.txt go before ours. charts: by id of a change. rich: by spider, the fields that hold HTML.
    details: what to try, in this order. notice: told first among what went wrong. Raises UsageError when a template of
    the user's fails.
    """
    words = WORDINGS[language]
    environment = _environment(templates)
    inliner = CSSInliner(keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False)
    summary = summarise(news, words)
    viewer = _Viewer(words, rich, several=len(news.spiders) > 1, many=frozenset(
        kind for kind, count in news.counts.items() if count > COMPACT_FROM and kind is not ChangeKind.CHANGED))

    @cache
    def item(kind: ChangeKind, place: int, places_shown: int, length: int) -> ItemView:
        change = news.top[kind][place]
        return viewer.item(change, charts.get(change.id, ()), Detail(1, places_shown, length))

    view: dict[str, Any] = {}
    html = ""
    for detail in details:
        items = {kind: [item(kind, place, detail.places, detail.length) for place in range(min(detail.items, len(news.top[kind])))]
                 for kind in ORDER}
        view = {
            "lang": words.lang, "words": words, "name": name, "summary": summary,
            "period": _period(news, words, zone),
            "sections": _sections(news, items, words, packed.table),
            "troubles": _troubles(news, words, notice), "downloads": _downloads(news, packed, words, max(detail.items, 1)),
            "attachments": _attachments(packed, words), "footer": words.footer.format(name=name),
        }
        html = inliner.inline(_run(environment, "digest.html", view))
        if len(html.encode()) < HTML_LIMIT:
            break
    if len(html.encode()) >= HTML_LIMIT:
        raise UsageError(f"its HTML has {len(html.encode())} bytes without any item; {HTML_LIMIT} is the limit",
                         where=f"digest {name}", fix="shorten the template")
    text = _run(environment, "digest.txt", view).strip() + "\n"
    titles = [clean_line(viewer.title(change), 40) for kind in ORDER for change in news.top[kind][:3]][:3]
    own = _subject(subject, name, titles, summary, words, date=f"{now.astimezone(zone):%Y-%m-%d}")
    shown_charts = [chart.picture for drawn in charts.values() for chart in drawn if chart.cid in html]
    return Rendered(own, text, html, shown_charts, shows_items=bool(detail.items or not news.total))


def render_part(rendered: Rendered, attachments: Sequence[Attachment], *, number: int, total: int,
                language: Language) -> Rendered:
    """The mail that only brings attachments the first one had no room for."""
    words = WORDINGS[language]
    lines = [words.part.format(n=number, total=total), ""]
    lines += [f"* {file.name} ({size_for_people(file.size_bytes)})" for file in attachments]
    return Rendered(numbered(rendered.subject, number, total), "\n".join(lines) + "\n", "", [])


def render_alert(summary: str, started: Sequence[object], over: Sequence[object], *, more: str,
                 words: AlertWording) -> Rendered:
    """An alert: what started and what is over, each with title, facts and log."""
    environment = _environment(None)
    view = {"summary": summary, "started": list(started), "over": list(over), "more": more, "words": words}
    inliner = CSSInliner(keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False)
    return Rendered(summary, clean_text(_run(environment, "alert.txt", view)).strip() + "\n",
                    inliner.inline(clean_text(_run(environment, "alert.html", view))), [])


def numbered(subject: str, number: int, total: int) -> str:
    """The subject of one of several mails of a digest; cut before it is cut off."""
    return subject if total == 1 else f"{clean_line(subject, SUBJECT_LENGTH - 10)} ({number}/{total})"


def _environment(templates: Path | None) -> ImmutableSandboxedEnvironment:
    if templates is not None and not templates.is_dir():
        raise UsageError("there is no such folder of templates", where=str(templates),
                         fix="create it, or correct the digest's templates")
    folders = [templates] if templates else []
    loader = ChoiceLoader([FileSystemLoader(folder) for folder in [*folders, Path(__file__).parent / "templates"]])
    return ImmutableSandboxedEnvironment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=lambda template: bool(template and template.endswith(".html")))


def _run(environment: ImmutableSandboxedEnvironment, template: str, view: dict[str, Any]) -> str:
    try:
        return environment.get_template(template).render(view)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise UsageError(f"the template failed: {error}", where=template, fix="correct it, or remove it") from error


def summarise(news: News, words: Wording) -> str:
    """ "3 new, 2 changed, 1 gone" """
    parts = [words.counts[kind].format(n=news.counts[kind]) for kind in ORDER if news.counts.get(kind)]
    if news.files:
        parts.append(words.files.format(n=len(news.files)))
    fresh = sum(refused.count for refused in news.refused if refused.fresh)
    if fresh:
        parts.append(words.kept_aside.format(n=fresh))
    lasting = [trouble for trouble in news.troubles if not trouble.recovered]
    for template, doubtful in ((words.failed, False), (words.doubtful, True)):
        spiders = [trouble.spider for trouble in lasting if trouble.suspect is doubtful]
        if spiders:
            parts.append(template.format(spiders=words.comma.join(spiders)))
    return words.comma.join(parts) or words.nothing


def _subject(own: str | None, name: str, titles: Sequence[str], summary: str, words: Wording, *, date: str) -> str:
    told = summary + (words.colon + words.comma.join(titles) if titles else "")
    if own is None:
        return f"[{name}] {told}"
    # str.format would let a template reach into objects; these three are all there is.
    return own.replace("{name}", name).replace("{date}", date).replace("{summary}", told)


def _period(news: News, words: Wording, zone: tzinfo) -> str:
    if news.start is None or news.end is None:
        return ""
    start, end = news.start.astimezone(zone), news.end.astimezone(zone)
    shown_start = start.strftime(words.date)
    if start.date() == end.date():
        return shown_start if end - start < timedelta(minutes=1) else words.period.format(
            start=shown_start, end=f"{end:%H:%M}")
    return words.period.format(start=shown_start, end=end.strftime(words.date))


def _sections(news: News, views: dict[ChangeKind, list[ItemView]], words: Wording, table: str) -> list[Section]:
    found = []
    for kind in ORDER:
        count = news.counts.get(kind, 0)
        if not count:
            continue
        items = views[kind]
        left = count - len(items)
        more = words.more_attached.format(n=left, name=table) if table else words.more.format(n=left)
        found.append(Section(kind.value, words.headings[kind], count, items, more if left else ""))
    return found


def title_of(data: Mapping[str, Any], key: str) -> str:
    """What a person would call the item: its title or name, else its first text, else its key."""
    by_name = {name.casefold(): value for name, value in data.items()}
    for value in [by_name.get(name) for name in _TITLES] + list(data.values()):
        if isinstance(value, str) and value.strip() and not value.startswith(("http://", "https://")):
            return value
    return key


def link_of(data: Mapping[str, Any], key: str) -> str:
    """Where the item is: its url or link, else the first field that is one, else its key where that is one; else ""."""
    by_name = {name.casefold(): value for name, value in data.items()}
    candidates = [by_name.get(name) for name in _LINKS] + list(data.values()) + [key]
    return next((link for link in map(safe_link, candidates) if link), "")


@dataclass(frozen=True)
class _Viewer:
    """Turns changes into what a template shows. rich: by spider, the fields that hold HTML; many: the kinds of which
    there are so many that each item gets one line for its fields."""

    words: Wording
    rich: Mapping[str, Collection[str]]
    several: bool
    many: Collection[ChangeKind]

    def item(self, change: Change, charts: Sequence[Chart], detail: Detail) -> ItemView:
        data = _data(change)
        title, link = self.title(change), link_of(data, change.key)
        compact = change.kind in self.many
        fields = self._changed(change, detail) if change.kind is ChangeKind.CHANGED else self._plain(change, title, link, compact=compact)
        return ItemView(clean_line(title, 160) or clean_line(change.key, 160) or "—", link,
                        change.spider if self.several else "", fields[:0 if compact and change.kind is ChangeKind.GONE else _MAX_FIELDS[change.kind]],
                        charts, compact)

    def title(self, change: Change) -> str:
        return title_of({name: self._text(change, name, value) if isinstance(value, str) else value
                         for name, value in _data(change).items()}, change.key)

    def _text(self, change: Change, name: str, value: Any) -> str:
        """A value as text; of HTML what it shows."""
        text = "\n".join(value) if self._is_rich(change, name) and _is_texts(value) else field_text(value)
        return plain(text) if self._is_rich(change, name) else text

    def _texts(self, change: Change, name: str) -> tuple[str, str]:
        """What a field said before and says now; with the currencies where prices are written alike."""
        before, after = (self._text(change, name, data.get(name)) for data in (change.before, change.after))
        old, new = currency_of(change.before.get(name)), currency_of(change.after.get(name))
        return (before, after) if before != after or old == new else (f"{before} ({old})", f"{after} ({new})")

    def _is_rich(self, change: Change, name: str) -> bool:
        return name in self.rich.get(change.spider, ())

    def _changed(self, change: Change, detail: Detail) -> list[FieldView]:
        views = []
        for name in change.fields[:_MAX_FIELDS[ChangeKind.CHANGED]]:
            found, left = places(*self._texts(change, name),
                                 most=detail.places, limit=detail.length)
            views.append(FieldView(clean_line(name, 40), places=found,
                                   value="" if found else self.words.unseen,
                                   more=self.words.more.format(n=left) if left else ""))
        return views

    def _plain(self, change: Change, title: str, link: str, *, compact: bool) -> list[FieldView]:
        views = []
        for name, value in _data(change).items():
            whole = self._text(change, name, value)
            is_rich = self._is_rich(change, name) and not compact
            text, own_link = clean_line(whole, _COMPACT if compact else 140), safe_link(value)
            if text and whole != title and (not link or own_link != link):
                view = FieldView(clean_line(name, 40), text, own_link)
                if is_rich:
                    markup = "\n".join(value) if _is_texts(value) else field_text(value)
                    view = replace(view, html=sanitised(markup, base=link), lines=_lines(whole))
                views.append(view)
        return views


def _lines(text: str) -> list[str]:
    """The beginning of a text, line by line."""
    found = [clean_line(line, 300) for line in text.split("\n")]
    return found if len(found) <= _MAX_LINES else [*found[:_MAX_LINES], "…"]


def _data(change: Change) -> dict[str, Any]:
    """What the item is now, or was when it was last there."""
    return change.before if change.kind is ChangeKind.GONE else change.after


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _troubles(news: News, words: Wording, notice: str) -> list[TroubleView]:
    told = [TroubleView("", notice)] if notice else []
    for trouble in news.troubles:
        parts = []
        if trouble.suspect:
            parts.append(words.suspect)
        if trouble.outcome is not None:
            parts.append(words.outcomes[trouble.outcome] if trouble.total == 1 else
                         words.failed_runs.format(n=trouble.bad, total=trouble.total))
        if trouble.recovered:
            parts.append(words.recovered)
        told.append(TroubleView(trouble.spider, _because(words.comma.join(parts), clean_line(trouble.error, 300))))
    told += [_refused(refused, words) for refused in news.refused]
    left = len(told) - _MAX_TROUBLES
    return [*told[:_MAX_TROUBLES], TroubleView("", words.more.format(n=left))] if left > 0 else told


def _because(what: str, why: str) -> str:
    return f"{what} — {why}" if why else what


def _refused(refused: Refused, words: Wording) -> TroubleView:
    shown_reasons = [f"{clean_line(one.reason, 120)} ({one.count})" for one in refused.reasons[:_MAX_REASONS]]
    left = refused.count - sum(one.count for one in refused.reasons[:_MAX_REASONS])
    if left > 0:
        shown_reasons.append(words.more.format(n=left))
    return TroubleView(refused.spider, _because(words.kept_aside_of.format(n=refused.count, spider=refused.spider),
                                                words.comma.join(shown_reasons)))


def _downloads(news: News, packed: Packed, words: Wording, keep: int) -> list[FileView]:
    views = [FileView(clean_line(file.name, 120), _detail(file, packed, words)) for file in news.files[:keep]]
    left = len(news.files) - len(views)
    return [*views, FileView(words.more.format(n=left), "")] if left else views


def _detail(file: StoredFile, packed: Packed, words: Wording) -> str:
    parts = [size_for_people(file.size_bytes), clean_line(file.content_type, 60)]
    number, total = packed.attached_files.get(file.id), 1 + len(packed.further)
    if number is None:
        parts.append(words.kept_at.format(key=clean_line(file.key, 160)))
    else:
        parts.append(words.attached if total == 1 else words.in_part.format(n=number, total=total))
    return _joined(parts)


def _attachments(packed: Packed, words: Wording) -> list[FileView]:
    """Tables and pages: those that go along, and those that were too large."""
    views = [FileView(found.name, size_for_people(found.size_bytes)) for found in (*packed.tables, *packed.pages)]
    views += [FileView(left.name, _joined([size_for_people(left.size_bytes), words.not_attached,
                                           words.kept_at.format(key=left.key) if left.key else ""]))
              for left in packed.left_out]
    if packed.rows_left_out:
        views.append(FileView(words.rows_left_out.format(n=packed.rows_left_out), ""))
    return views


def _joined(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)
