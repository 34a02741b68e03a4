"""Judge by `only_if` which changes a digest tells: by stored judgements, or the language model.

A change is left out only if there is a judgement that says so. Whatever goes wrong, such as a model that does not answer, is unsure or answers
nonsense, the change is told.
"""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from pipeline.ai.change_text import ChangeText
from pipeline.ai.errors import ModelError
from pipeline.ai.language_model import LanguageModel
from pipeline.errors import PipelineError
from pipeline.mail.digests.content_hash import ContentHashes
from pipeline.mail.digests.verdicts import Verdict, Verdicts, instructions, verdicts_by_number
from pipeline.model import Change
from pipeline.settings import DigestTable, RecipientsTable, Settings
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.mail.judgements import Judgement, Subject, keep_judgements, stored_judgements
from pipeline.text import clean_line

READ = 500
"""How many changes are in memory at once."""
MAX_RECORDS = 25
"""The largest number of changes in a request. A model answers less reliably about more of them, and its answer must fit into `max_output_tokens`."""
MAX_FAILURES = 3
"""After this many requests in a row without a usable answer, the digest asks the model nothing more."""
NO_MODEL = "the settings have no table [ai]"
NO_VERDICT = "the language model gave no valid verdict"

logger = logging.getLogger(__name__)


@dataclass
class LeftOut:
    """The changes that `only_if` leaves out for some recipients. The ids are in memory, so each iteration leaves out the same changes.

    ids: of these changes, in ascending order. counts: how many each question has left out. not_judged: for each question, how many changes
    are told because they could not be judged, and the first reason.
    """

    ids: array[int] = field(default_factory=lambda: array("q"))
    counts: dict[str, int] = field(default_factory=dict)
    not_judged: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __contains__(self, change_id: int) -> bool:
        position = bisect_left(self.ids, change_id)
        return position < len(self.ids) and self.ids[position] == change_id

    def add(self, change_id: int, question: str) -> None:
        self.ids.append(change_id)
        self.counts[question] = self.counts.get(question, 0) + 1

    def could_not_judge(self, question: str, why: str) -> None:
        count, first = self.not_judged.get(question, (0, why))
        self.not_judged[question] = (count + 1, first)


class ToldChanges:
    """Iterates over the changes that are not left out. changes: can be iterated several times, in the order of their ids."""

    def __init__(self, changes: Iterable[Change], left_out: LeftOut) -> None:
        self._changes = changes
        self._left_out = left_out

    def __iter__(self) -> Iterator[Change]:
        return (change for change in self._changes if change.id not in self._left_out)


def questions_of(filters: Iterable[RecipientsTable]) -> list[str]:
    """Return the questions of some recipients, of the digest and of the group, each once. A change must meet all of them."""
    return list(dict.fromkeys(wanted.only_if for wanted in filters if wanted.only_if))


class Judge:
    """Judges the changes of one digest.

    model: None if the settings have none; changes without a stored judgement are then told. renew: called before each request to the model; it
    renews the lease of the digest, or raises LeaseLostError.
    """

    def __init__(self, store: Store, settings: Settings, name: str, model: LanguageModel | None, *, now: datetime,
                 renew: Callable[[], None]) -> None:
        self._store = store
        self._settings = settings
        self._name = name
        self._model = model
        self._now = now
        self._renew = renew
        self._failures = 0
        self._ended = ""
        """Why the model is not asked any more; "" while it is asked."""

    def left_out(self, changes: Iterable[Change], questions: Sequence[str], table: DigestTable) -> LeftOut:
        """Judge the changes, and return those that are left out.

        changes: those that pass the other filters. questions: what they must all meet. table: the settings of the mail.

        Raises StoreError, LeaseLostError.
        """
        try:
            found = self._left_out(changes, questions, table)
        except (PipelineError, OSError):
            raise  # the store or the disk caused the error, or another process builds the digest
        except Exception as error:
            logger.exception("the changes of the digest %s could not be judged", self._name)
            why = Mask.of(self._settings)(f"{type(error).__name__}: {error}")
            found = LeftOut(not_judged={questions[0]: (sum(1 for _ in changes), why)})
        for question, (count, why) in found.not_judged.items():
            logger.warning("the digest %s tells %d changes that were not judged by %r: %s", self._name, count, question, why)
        return found

    def _left_out(self, changes: Iterable[Change], questions: Sequence[str], table: DigestTable) -> LeftOut:
        found, unread = LeftOut(), iter(changes)
        text, hashes = ChangeText(self._settings, table), ContentHashes(self._settings, table)
        while read := list(islice(unread, READ)):
            subjects = {change.id: (change.id, hashes(change)) for change in read}
            told = list(read)
            excluded: dict[int, str] = {}
            not_judged: dict[int, tuple[str, str]] = {}
            for question in questions:
                judged, failed = self._judged(told, subjects, text, question, table.language)
                excluded |= {change.id: question for change in told if (known := judged.get(subjects[change.id])) is not None and not known.told}
                told = [change for change in told if change.id not in excluded]
                for change in told:
                    if subjects[change.id] not in judged:
                        not_judged.setdefault(change.id, (question, failed.get(change.id, NO_VERDICT)))
            for change in read:
                if change.id in excluded:
                    found.add(change.id, excluded[change.id])
                elif change.id in not_judged:
                    found.could_not_judge(*not_judged[change.id])
        return found

    def _judged(self, changes: Sequence[Change], subjects: Mapping[int, Subject], text: ChangeText, question: str,
                language: str) -> tuple[dict[Subject, Judgement], dict[int, str]]:
        """Return the judgements of changes, and by the id of a change why the model could not be asked about it."""
        judged = stored_judgements(self._store, self._name, question, [subjects[change.id] for change in changes])
        open_changes = dict(enumerate((change for change in changes if subjects[change.id] not in judged), 1))
        if self._model is None or self._ended:
            return judged, {change.id: self._ended or NO_MODEL for change in open_changes.values()}
        failed: dict[int, str] = {}
        task = instructions(question, language)
        for records in self._model.batches(task, [text.of(change, number) for number, change in open_changes.items()], Verdicts, most=MAX_RECORDS):
            batch = {record.number: open_changes[record.number] for record in records}
            why: str = self._ended
            if not why:
                self._renew()
                try:
                    answer = self._model.ask("filter", task, records, Verdicts)
                    self._failures = 0
                except ModelError as error:
                    why = self._failed(error)
                else:
                    judged |= self._keep(verdicts_by_number(answer, batch), batch, subjects, question)
            if why:
                failed |= {change.id: why for change in batch.values()}
        return judged, failed

    def _keep(self, verdicts: Mapping[int, Verdict], batch: Mapping[int, Change], subjects: Mapping[int, Subject], question: str) -> dict[Subject, Judgement]:
        """Store the verdicts on some changes before anything is done with them, and return what is stored."""
        found = [Judgement(*subjects[batch[number].id], verdict.told, verdict.reason) for number, verdict in verdicts.items()]
        stored = keep_judgements(self._store, self._name, question, found, now=self._now)
        for change in batch.values():
            judgement = stored.get(subjects[change.id])
            if judgement is not None and not judgement.told:
                logger.info("the digest %s leaves out the change %d of %s (%s); the language model says: %s", self._name, change.id, change.spider,
                            clean_line(change.key, 100), judgement.reason)
        return stored

    def _failed(self, error: ModelError) -> str:
        """Return why changes are not judged, and ask nothing more if the next request would fail as well."""
        self._failures += 1
        if error.final or self._failures >= MAX_FAILURES:
            self._ended = error.what
        return error.what
