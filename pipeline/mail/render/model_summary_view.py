"""Prepare the summary of a language model for the mail templates; order changes by its ranking."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.languages import Wording
from pipeline.languages.reasons import reasons
from pipeline.mail.render.item_view import LINK_LENGTH, ItemView
from pipeline.mail.summary import DigestSummary
from pipeline.mail.top_changes import KEEP, fair_choice
from pipeline.model import Change, ChangeKind, ModelSummary
from pipeline.text import clean_line

MAX_REFERENCES = 6
"""Maximum number of links of a claim. How many further changes it rests on is said."""
_NAME_LENGTH = 80


@dataclass(frozen=True)
class ClaimView:
    """A sentence of the model.

    numbers: the numbers of the items on which it rests. Each item has its number in the mail, or in `ModelSummaryView.further`. more: text that says
    on how many further changes it rests; "" if all have numbers.
    """

    text: str
    numbers: Sequence[int]
    more: str


@dataclass(frozen=True)
class FurtherItem:
    """An item that a claim refers to, and that the mail does not show for lack of room. link: its URL; "" if it has none, or a very long one."""

    number: int
    title: str
    link: str


@dataclass(frozen=True)
class ModelSummaryView:
    """The summary, in the form in which the templates show it.

    nothing: that the model found nothing that answers the question; "" if there are claims. written_by: which model wrote the claims, and from how
    many changes. missing: the only line if there is no summary, with the reason; all else is empty then.
    """

    claims: Sequence[ClaimView] = ()
    further: Sequence[FurtherItem] = ()
    nothing: str = ""
    written_by: str = ""
    missing: str = ""


@dataclass(frozen=True)
class SummaryOptions:
    """A summary of the changes of a digest for one mail. question: what the readers want to know; "" for no question."""

    summary: ModelSummary
    question: str = ""

    @property
    def numbers(self) -> dict[int, int]:
        """The numbers of the changes to which the claims refer, by the id of the change, counted in the order of the claims."""
        cited = dict.fromkeys(number for claim in self.summary.claims for number in claim.change_ids[:MAX_REFERENCES])
        return {change_id: number for number, change_id in enumerate(cited, 1)}

    @property
    def places(self) -> dict[int, int]:
        """How important the model finds each change, by the id of the change: 0 for the most important one."""
        return places_of(self.summary)


def model_summary_view(options: SummaryOptions | None, total: int, shown: Collection[int], item: Callable[[int], ItemView | None],
                       words: Wording) -> ModelSummaryView | None:
    """Return the summary for the templates; None if the digest has none.

    total: number of changes of the digest. shown: the ids of the changes that the mail shows. item: returns the item of a change by its id.
    """
    if options is None:
        return None
    summary = options.summary
    if summary.is_missing:
        return ModelSummaryView(missing=missing_text(options, words))
    numbers = options.numbers
    further = [FurtherItem(number, view.title, view.link if len(view.link) <= LINK_LENGTH else "") for change_id, number in numbers.items()
               if change_id not in shown and (view := item(change_id)) is not None]
    claims = [ClaimView(claim.text, [numbers[change_id] for change_id in claim.change_ids[:MAX_REFERENCES]],
                        words.more.format(n=len(claim.change_ids) - MAX_REFERENCES) if len(claim.change_ids) > MAX_REFERENCES else "")
              for claim in summary.claims]
    return ModelSummaryView(claims, further, "" if claims else _nothing(options, words), _written_by(summary, total, words))


def _nothing(options: SummaryOptions, words: Wording) -> str:
    return words.model_summary_nothing.format(question=clean_line(options.question, 500))


def missing_text(options: SummaryOptions | None, words: Wording) -> str:
    """Return the line that says that there is no summary, and why; "" if there is one, or if none was wanted."""
    if options is None or not options.summary.is_missing:
        return ""
    return words.model_summary_missing.format(why=_reason(options.summary, words))


def _reason(summary: ModelSummary, words: Wording) -> str:
    return clean_line(reasons(words.lang).translate(summary.problem), 300)


def _written_by(summary: ModelSummary, total: int, words: Wording) -> str:
    """Return which model wrote the summary: from all changes, or from how many of them and, if it was stopped, why."""
    names = {"model": clean_line(summary.model, _NAME_LENGTH), "host": clean_line(summary.host, _NAME_LENGTH)}
    if summary.read >= total:
        return words.model_summary_by.format(**names)
    text = words.model_summary_by_some.format(n=summary.read, total=total, **names)
    return f"{text} — {_reason(summary, words)}" if summary.problem else text


def ranked(summary: DigestSummary, said: ModelSummary, important: Sequence[str]) -> DigestSummary:
    """Return the summary with the changes of each kind in the order of the model. Changes that it did not rank follow in their order.

    Those to which its claims refer are shown in full before others of their spider. important: names of the fields whose changes come first: a setting is above the model.
    """
    position = places_of(said)
    last = len(position)

    def place(change: Change) -> tuple[bool, int]:
        is_important = change.kind is ChangeKind.CHANGED and not set(important).isdisjoint(change.fields)
        return (False, 0) if is_important else (True, position.get(change.id, last))

    if not position:
        return summary
    cited = {change_id for claim in said.claims for change_id in claim.change_ids}
    divided = {kind: fair_choice(sorted([*changes, *summary.further.get(kind, ())], key=place), KEEP, cited) for kind, changes in summary.top.items()}
    return replace(summary, top={kind: first for kind, (first, _) in divided.items()}, further={kind: others for kind, (_, others) in divided.items()})


def places_of(said: ModelSummary) -> dict[int, int]:
    cited = [change_id for claim in said.claims for change_id in claim.change_ids]
    return {change_id: place for place, change_id in enumerate(dict.fromkeys([*said.order, *cited]))}


def with_number(view: ItemView, change: Change, numbers: Mapping[int, int]) -> ItemView:
    """Return the item with the number under which the summary refers to it."""
    return replace(view, number=numbers[change.id]) if change.id in numbers else view
