"""Ask a language model what matters most among changes, in batches, and merge the answers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from pipeline.ai.answers import plain
from pipeline.ai.change_text import ChangeText, Record
from pipeline.ai.errors import ModelError
from pipeline.ai.language_model import LanguageModel
from pipeline.languages.phrase import locale_of
from pipeline.model import Change, ModelSummary, SummaryClaim
from pipeline.text import clean_line

MAX_CLAIMS = 5
MAX_ITEMS = 50
"""Maximum number of changes on which a claim may rest. Further ones are left out."""
CLAIM_LENGTH = 280
BATCH_RECORDS = 60
"""Maximum number of changes that a request ranks. What fits into a request is also limited by `max_input_tokens`."""
NO_CLAIMS = "no sentence of the language model names a change of this digest"

_RECORD = r"(?:items?|records?|numbers?|nos?\.?|eintrag|einträge|datensatz|datensätze|nummern?|nr\.?|条目|记录|编号|第)"
_REFERENCE = re.compile(
    r"\s*[\[［【〔]\s*#?\d[\d\s,;#，、–-]*[\]］】〕]"
    rf"|\s*[(（]\s*(?:(?:see|siehe|vgl\.|见)\s*)?(?:{_RECORD}\s*#?|#)\s*\d(?:[\d\s,;#，、–-]|and|und|to|bis|和|至)*[条项]?\s*[)）]"
    rf"|^{_RECORD}\s*#?\d+\s*[:：]\s*", re.IGNORECASE)
"""The number of a record, as models write it in brackets or before a sentence. Readers would take it for one of the numbers that the mail gives to items."""
_HOSTS = (re.compile(r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]+(?![a-z0-9-])", re.IGNORECASE | re.ASCII), re.compile(r"(?:[\w-]+\.)+[^\W\d_][\w-]+"))
"""Host names, in ASCII letters beside any others, and of any letters."""
_MOST_PASSES = 6

_TASK = """\
The records are changes that a program found on web sites. Tell a reader in a few sentences what matters most.
{question}Answer with JSON: {{"claims": [{{"text": "…", "items": [1, 2]}}], "order": [2, 1]}}
- claims: at most {most} short sentences in {language}, the most important first, each of at most 200 characters. Say only what the records say. \
"items" are the numbers of the records on which the sentence rests. Put related records into one sentence. No links, no markup, and no numbers of records in the text.
- order: the numbers of the records, the most important first; those that do not matter may be left out."""
_QUESTION = """\
The reader wants to know: {question}
If no record says anything about this, "claims" is an empty list. Records about this come first in "order".
"""
_MERGE = """\
The records are sentences about changes on web sites. Choose and merge what matters most to a reader.
{question}Answer with JSON: {{"claims": [{{"text": "…", "items": [1, 2]}}], "order": [2, 1]}}
- claims: at most {most} short sentences in {language}, the most important first, each of at most 200 characters. Say only what the records say. \
"items" are the numbers of the records that the sentence merges. No links, no markup, and no numbers of records in the text.
- order: the numbers of all records, the most important first."""

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

Entry = TypeVar("Entry")

logger = logging.getLogger(__name__)


class AnsweredClaim(BaseModel):
    """A sentence, and the numbers of the records on which it rests."""

    text: str
    items: list[int]


class Answer(BaseModel):
    """What the model answers. order: numbers of records, the most important first."""

    claims: list[AnsweredClaim]
    order: list[int] = []


@dataclass(frozen=True)
class _Ranked:
    """A checked answer. claims: texts with numbers of records. order: numbers of records. is_empty: whether the answer had no claim at all."""

    claims: Sequence[tuple[str, tuple[int, ...]]]
    order: Sequence[int]
    is_empty: bool = False


class SummaryRequest:
    """Asks for the summary of some changes. renew: called before each request. question: what the readers want to know; "" for what matters most."""

    def __init__(self, model: LanguageModel, change_text: ChangeText, *, language: str, renew: Callable[[], None], question: str = "") -> None:
        self._model = model
        self._text = change_text
        self._renew = renew
        self._wanted = {"language": locale_of(language).get_display_name("en"), "most": MAX_CLAIMS,
                        "question": _QUESTION.format(question=clean_line(question)) if question else ""}
        self._has_question = bool(question)

    def summary(self, changes: Sequence[Change]) -> ModelSummary:
        """Return what the model says about these changes. Raises ModelError if it read none of them, or if no claim names any of them.

        If the model fails to read some batches, the summary is about the others, and its `problem` is the reason.
        """
        numbers = {number: change.id for number, change in enumerate(changes, 1)}
        records = [self._text.of(change, number) for number, change in enumerate(changes, 1)]
        answers: list[_Ranked] = []
        read = 0
        failed: ModelError | None = None
        for batch in self._model.batches(self._instructions(_TASK), records, Answer, most=BATCH_RECORDS):
            try:
                answers.append(self._ask(_TASK, batch))
                read += len(batch)
            except ModelError as error:  # of one batch, the server may refuse the content; the others can still be read
                failed = failed or error
                if error.final:
                    break
        if failed is not None:
            if not answers:
                raise failed
            logger.warning("the language model read %d of %d changes: %s", read, len(records), failed)
        merged = answers[0] if len(answers) == 1 else self._merged(answers)
        if not merged.claims and not (self._has_question and merged.is_empty):
            raise ModelError(NO_CLAIMS)
        claims = tuple(SummaryClaim(text, tuple(numbers[number] for number in items)) for text, items in merged.claims)
        return ModelSummary(claims, tuple(numbers[number] for number in merged.order), self._model.model, self._model.host, read,
                            clean_line(failed.what, 500) if failed is not None else "")

    def _ask(self, task: str, records: Sequence[Record]) -> _Ranked:
        self._renew()
        answer = self._model.ask("summary", self._instructions(task), records, Answer)
        return checked(answer, {record.number for record in records})

    def _instructions(self, task: str) -> str:
        return task.format(**self._wanted)

    def _merged(self, answers: Sequence[_Ranked]) -> _Ranked:
        """Return one answer from those to the batches: the model merges their claims.

        If it cannot merge them, the first claims of each batch are taken in turn. If there are more than fit into a request, it is not sent the last of them.
        """
        claims = list(_in_turn([answer.claims for answer in answers]))
        order = list(_in_turn([answer.order for answer in answers]))
        in_turn = _Ranked(claims[:MAX_CLAIMS], order, is_empty=all(answer.is_empty for answer in answers))
        if len(claims) <= 1:
            return in_turn
        records = [Record(number, text) for number, (text, _) in enumerate(claims, 1)]
        try:
            found = self._ask(_MERGE, next(self._model.batches(self._instructions(_MERGE), records, Answer, most=len(records))))
        except ModelError as error:
            logger.warning("the language model did not merge the summaries of %d batches, so the first sentences of each are shown: %s", len(answers), error)
            return in_turn
        if not found.claims:
            return in_turn
        merged = [(text, tuple(dict.fromkeys(chain.from_iterable(claims[number - 1][1] for number in items)))[:MAX_ITEMS]) for text, items in found.claims]
        first = chain(chain.from_iterable(items for _, items in merged), chain.from_iterable(claims[number - 1][1] for number in found.order))
        return _Ranked(merged, list(dict.fromkeys([*first, *order])))


def checked(answer: Answer, numbers: Collection[int]) -> _Ranked:
    """Return what is usable of an answer: claims as plain text that rest on known records, and each known number once.

    numbers: the numbers of the records that the model was sent.
    """
    claims: list[tuple[str, tuple[int, ...]]] = []
    for claim in answer.claims[:4 * MAX_CLAIMS]:
        items = tuple(dict.fromkeys(number for number in claim.items if number in numbers))[:MAX_ITEMS]
        text = claim_text(claim.text)
        if items and text and text not in dict(claims):
            claims.append((text, items))
    order = list(dict.fromkeys(number for number in answer.order if number in numbers))
    return _Ranked(claims[:MAX_CLAIMS], order, is_empty=not answer.claims)


def claim_text(text: str) -> str:
    """Return a sentence of the model as a mail shows it: plain text on one line without URLs, and without anything that looks like a reference.

    The dot of a host name is put into brackets, because many mail clients turn a host name into a link.
    """
    line = clean_line(text, 4 * CLAIM_LENGTH)
    for _ in range(_MOST_PASSES):  # what is removed may have parted another URL or reference
        before, line = line, _REFERENCE.sub("", plain(line, CLAIM_LENGTH))
        if line == before:
            break
    else:
        return ""
    for pattern in _HOSTS:
        line = pattern.sub(_without_link, line)
    return line.replace("://", " ")


def _without_link(found: re.Match[str]) -> str:
    name: str = found[0]
    return name.replace(".", "[.]") if name.lower().startswith("www.") or _top_domains().publicsuffix(name.lower()) else name


@cache
def _top_domains() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415  its import takes 30 ms, and most digests have no summary

    return PublicSuffixList(accept_unknown=False)


def _in_turn(lists: Sequence[Sequence[Entry]]) -> Iterator[Entry]:
    """Yield the first of each list, then the second of each, and so on."""
    for place in range(max(map(len, lists), default=0)):
        yield from (each[place] for each in lists if place < len(each))
