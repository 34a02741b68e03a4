"""Write the subject of a digest and its preheader.

The short texts that mail clients show in the list of mails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import regex

from pipeline.display.field_diff import Place
from pipeline.display.field_text import field_text
from pipeline.display.field_view import FieldView
from pipeline.display.figures import figure_of
from pipeline.languages import Wording
from pipeline.mail.render.item_view import ItemView
from pipeline.mail.summary import ORDER, DigestSummary
from pipeline.model import Change, ChangeKind, Json, Outcome
from pipeline.text import clean_line, isolated

FEW = 3
"""Up to this number of changes, the subject names each change. If there are more, they are counted, and only the first are named."""
FIRST = 8
"""Number of changes that the subject and the preheader are written from."""
_ROOM = 110
"""Number of characters up to which the subject says how each of a few items changed. A longer subject only names the items."""
_PREHEADER = 140
_WORD_END, _WORD_START = regex.compile(r"[^\W\d_]{1,6}$"), regex.compile(r"[^\W\d_]{1,6}")
_CODE = 3
"""Number of characters up to which a value may be a code or a mark."""
_TELLING = 3
"""Number of characters from which on a value in the subject is not repeated. A shorter one may be there by chance."""
_TITLE, _SHORT_TITLE, _VALUE, _MAX_SPIDERS = 78, 40, 40, 3


@dataclass(frozen=True)
class FirstChange:
    """One of the first changes of a digest, with its item as the mail shows it."""

    change: Change
    item: ItemView

    @property
    def kind(self) -> ChangeKind:
        return self.change.kind


def subject_of(template: str | None, name: str, text: str, *, date: str) -> str:
    """Return the subject of a mail.

    template: the user's template, in which {name}, {date} and {summary} are replaced by `name`, `date` and `text`; None means only `text`.
    """
    if template is None:
        return text
    # str.format() is not used, because a template could then access attributes of Python objects.
    values = {"{name}": name, "{date}": date, "{summary}": text}
    return regex.sub(r"\{(?:name|date|summary)\}", lambda found: values[found[0]], template)


def subject_text(summary: DigestSummary, first: Sequence[FirstChange], words: Wording) -> str:
    """Return what is new in one line: a single change in full, a few changes by name, many changes as numbers with the first names.

    first: the first changes, in the order of the mail.
    """
    files, rejects, problems = _files(summary, words), _reject_count(summary, words), [*_failed_file_count(summary, words), *problem_counts(summary, words)]
    if rejects and not (summary.total or files or problems):
        spiders = _spiders([items.spider for items in summary.rejected if items.fresh], words)
        rejects = [words.subject["change"].format(title=spiders, change=rejects[0])]
    rest = [*files, *rejects, *problems]
    if summary.total > FEW:
        counts = words.comma.join([*change_counts(summary, words), *rest])
        return words.subject["many"].format(counts=counts, titles=_joined([_title(each, _SHORT_TITLE) for each in first[:FEW]], words, and_more=True))
    if summary.total:
        return words.semicolon.join([*_few(first, words), *rest])
    return words.semicolon.join(rest) or words.subject["nothing"].format(spiders=_spiders([each.spider for each in summary.checked], words))


def summary_line(summary: DigestSummary, words: Wording) -> str:
    """Return the digest's counts in one line, such as "3 new, 2 changed, 1 gone"."""
    parts = [*change_counts(summary, words), *_file_count(summary, words), *_reject_count(summary, words), *_failed_file_count(summary, words),
             *problem_counts(summary, words)]
    return words.comma.join(parts) or words.nothing


def change_counts(summary: DigestSummary, words: Wording) -> list[str]:
    return [words.counts[kind].format(n=summary.counts[kind]) for kind in ORDER if summary.counts.get(kind)]


def problem_counts(summary: DigestSummary, words: Wording) -> list[str]:
    """Return texts that name the spiders whose last run failed, and those whose last run is suspect.

    An interrupted run has not failed, because the next run continues its pass.
    """
    lasting = [problem for problem in summary.problems if not problem.recovered and (problem.suspect or problem.outcome is not Outcome.ABANDONED)]
    found = []
    for template, suspect in ((words.failed, False), (words.doubtful, True)):
        spiders = [problem.spider for problem in lasting if problem.suspect is suspect]
        if spiders:
            found.append(template.format(spiders=_spiders(spiders, words)))
    return found


def _spiders(spiders: Sequence[str], words: Wording) -> str:
    names = words.enumeration.join(spiders[:_MAX_SPIDERS])
    left = len(spiders) - _MAX_SPIDERS
    return words.more_spiders.format(spiders=names, n=left) if left > 0 else names


def _file_count(summary: DigestSummary, words: Wording) -> list[str]:
    return [words.files.format(n=len(summary.files))] if summary.files else []


def _failed_file_count(summary: DigestSummary, words: Wording) -> list[str]:
    return [words.failed_files.format(n=summary.newly_failed_files)] if summary.newly_failed_files else []


def _reject_count(summary: DigestSummary, words: Wording) -> list[str]:
    fresh = sum(items.count for items in summary.rejected if items.fresh)
    return [words.rejected.format(n=fresh)] if fresh else []


def _files(summary: DigestSummary, words: Wording) -> list[str]:
    """Return the number of downloaded files; with their names if no item changed."""
    files = _file_count(summary, words)
    if summary.files and not summary.total:
        names = _joined([isolated(clean_line(file.name, _SHORT_TITLE)) for file in summary.files[:FEW]], words, and_more=len(summary.files) > FEW)
        files = [words.subject["files"].format(titles=names) if len(summary.files) <= FEW else
                 words.subject["many"].format(counts=files[0], titles=names)]
    return files


def _few(first: Sequence[FirstChange], words: Wording) -> list[str]:
    """Return the changes in full or, if that is too long, the titles of the items by kind of change."""
    if len(first) == 1:
        return [in_full(first[0], words, length=_TITLE)]
    kinds = dict.fromkeys(each.kind for each in first)
    parts: list[str] = []
    for in_detail, length in ((True, _TITLE), (True, _SHORT_TITLE), (False, _TITLE), (False, _SHORT_TITLE)):
        parts = []
        for kind in kinds:
            own = [each for each in first if each.kind is kind]
            if in_detail and kind is ChangeKind.CHANGED:
                parts += [in_full(each, words, length=length) for each in own]
            else:
                parts.append(words.subject[kind.value].format(titles=_joined([_title(each, length) for each in own], words)))
        if sum(map(len, parts)) <= _ROOM:
            break
    return parts


def in_full(first: FirstChange, words: Wording, *, length: int) -> str:
    """Return one change in full, such as "New: Walnut clock — £31.82" or "Walnut clock: £31.82 → £32.32"."""
    title = _title(first, length)
    if first.kind is not ChangeKind.CHANGED:
        price = "" if first.kind is ChangeKind.GONE else _price(first.change.after.get(field.name) for field in first.item.fields)
        named = words.subject["valued"].format(title=title, value=price) if price else title
        return words.subject[first.kind.value].format(titles=named)
    if first.item.fields and _is_title(first.item.fields[0], first.item):
        return _change(first.item.fields[0], words)
    found = next((change for _, change in _changed(first, words)), "")
    return words.subject["change"].format(title=title, change=found) if found else words.subject["changed"].format(titles=title)


def preheader(subject: str, first: Sequence[FirstChange], others: Sequence[str], words: Wording, *, otherwise: str) -> str:
    """Return the first changes in a few words, without what the subject says.

    others: what the mail says beside the changes, such as its problems. otherwise: the text to return if the subject says everything.
    """
    if len(first) == 1:
        parts = _details(first[0], words, subject)
    else:
        parts = (in_full(each, words, length=_SHORT_TITLE) for each in first)
    found: list[str] = []
    for part in chain(parts, others):
        if part and part not in subject and sum(map(len, found)) < _PREHEADER:
            found.append(part)
    return clean_line(" · ".join(found) or otherwise, _PREHEADER)


def _details(first: FirstChange, words: Wording, subject: str) -> Iterator[str]:
    """Yield each field of an item with its value or its change. Values that the subject contains are left out."""
    if first.kind is ChangeKind.CHANGED:
        for field, found in _changed(first, words):
            yield field.difference if found in subject else found
        return
    for field in first.item.fields:
        if field.value and (len(field.value) < _TELLING or field.value not in subject):
            yield f"{field.label}{words.colon}{isolated(clean_line(field.value, 80))}"


def _changed(first: FirstChange, words: Wording) -> Iterator[tuple[FieldView, str]]:
    """Yield each field of a changed item with how it changed. The field is named unless the change makes clear what it is."""
    for field in first.item.fields:
        found = _change(field, words)
        if found:
            is_clear = bool(field.told) or _is_title(field, first.item) or (_is_price(field.old) and _is_price(field.new)) or (
                len(first.item.fields) == 1 and all(_says_what_it_is(text, words) for text in (field.old, field.new)))
            yield field, found if is_clear else words.subject["field"].format(field=field.label, change=found)


def _says_what_it_is(text: str, words: Wording) -> bool:
    """Return whether a reader understands a value without the name of its field: a text, but no figure, date, code or yes or no."""
    return not text or (len(text) > _CODE and not text[0].isdigit() and text not in (words.yes, words.no))


def _change(field: FieldView, words: Wording) -> str:
    """Return the first place at which a field changed, as old → new, or as text that was added or removed; "" if there is none."""
    if not field.places:
        return field.told
    old, new = (isolated(_cut(text, _VALUE)) for text in _first_difference(field.places[0]))
    if old and new:
        found = f"{old} {words.arrow} {new}"
    else:
        found = words.subject["added"].format(text=new) if new else words.subject["removed"].format(text=old)
    more = len(field.places) - 1
    return words.subject["places"].format(change=found, n=more) if more and not field.more else found


def _is_title(field: FieldView, item: ItemView) -> bool:
    """Return whether a field is the title of its item, which the mail shows as it is now."""
    return bool(field.new) and _cut(field.new, _TITLE) == _cut(item.title, _TITLE)


def _first_difference(place: Place) -> tuple[str, str]:
    """Return the old text and the new text of the first difference. Differences with only punctuation or space between them are one."""
    old = new = between = before = ""
    for span in place.spans:
        if span.kind == "same":
            if (old or new) and any(map(str.isalnum, span.text)):
                return _whole_words(old, new, before, span.text) if old and new else (old, new)
            between, before = (span.text, before) if old or new else ("", span.text)
        elif span.kind == "old":
            old += between * bool(old) + span.text
        else:
            new += between * bool(new) + span.text
    return old, new


def _whole_words(old: str, new: str, before: str, after: str) -> tuple[str, str]:
    """Return both texts with the parts of their first and last words that did not change, which matters for scripts without blanks."""
    start, end = _WORD_END.search(before), _WORD_START.match(after)
    first, last = start[0] if start else "", end[0] if end else ""
    return f"{first}{old}{last}", f"{first}{new}{last}"


def _title(first: FirstChange, length: int) -> str:
    return isolated(_cut(first.item.title, length))


def _cut(text: str, length: int) -> str:
    """Return text on one line; if it is longer than `length` characters, it ends after a word."""
    line = clean_line(text, length)
    if not line.endswith("…") or text.rstrip().endswith("…"):
        return line
    start, blank, _ = line.rpartition(" ")
    return f"{start.rstrip(' ,;:–—-')}…" if blank and len(start) > length // 2 else line


def _price(values: Iterable[Json]) -> str:
    """Return the first of the values that is a price, as the site writes it; "" if none is."""
    for value in values:
        figure = figure_of(value, strict=True)
        if figure is not None and figure.unit and not figure.is_percentage:
            return isolated(clean_line(field_text(value), _VALUE))
    return ""


def _is_price(text: str) -> bool:
    return bool(_price([text]))


def _joined(titles: Sequence[str], words: Wording, *, and_more: bool = False) -> str:
    """Return titles in one line, with commas between them unless they contain commas. and_more: whether there are more than these titles."""
    if any(words.enumeration.strip() in title for title in titles):
        return " · ".join([*titles, "…"] if and_more else titles)
    line = words.enumeration.join(titles)
    return words.subject["and_more"].format(titles=line) if and_more else line
