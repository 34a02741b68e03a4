"""The summary of a language model on top of a digest: asked once, and kept with the digest."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.ai.change_text import ChangeText
from pipeline.ai.errors import ModelError
from pipeline.ai.language_model import LanguageModel
from pipeline.errors import PipelineError
from pipeline.mail.digests.content_hash import ContentHashes
from pipeline.mail.digests.contents import RecipientsContent
from pipeline.mail.digests.renderer import question_of
from pipeline.mail.digests.summary_request import NO_CLAIMS, SummaryRequest
from pipeline.mail.render.model_summary_view import ranked
from pipeline.mail.top_changes import fair_choice, fair_shares
from pipeline.model import Change, ModelSummary
from pipeline.settings import DigestTable, Settings
from pipeline.settings.masking import Mask
from pipeline.store import Store
from pipeline.store.mail import model_summaries as stored
from pipeline.text import clean_line

MAX_READ = 1_000
"""Maximum number of changes that a language model reads for a summary."""

logger = logging.getLogger(__name__)


def with_summaries(store: Store, settings: Settings, name: str, contents: Sequence[RecipientsContent], model: LanguageModel | None, *,
                   digest_id: int | None, renew: Callable[[], None]) -> list[RecipientsContent]:
    """Return the contents with the summaries that their tables ask for, and with the changes in the order of the model.

    A summary that is stored for this digest is used again, so that a digest that is built again after a crash says the same, and the model is
    asked once. So is the reason why there is no summary. A digest that is sent again has the summary that it had, if it has the same changes and
    the settings ask for the same.

    name: of the digest. model: None if there is none, so that nothing is asked. digest_id: id of the claim; None for a preview, whose summaries are not stored.
    renew: called before each request; it renews the lease of the digest, or raises LeaseLostError.
    """
    summaries = _Summaries(store, settings, name, model, digest_id, renew)
    return [summaries.added_to(content) for content in contents]


class _Summaries:
    """Makes the summaries of one digest. Recipients who are told the same get the same summary."""

    def __init__(self, store: Store, settings: Settings, name: str, model: LanguageModel | None, digest_id: int | None,  # noqa: PLR0917  as `with_summaries` gets them
                 renew: Callable[[], None]) -> None:
        self._store = store
        self._settings = settings
        self._name = name
        self._model = model
        self._digest_id = digest_id
        self._renew = renew
        self._asked: dict[str, ModelSummary] = {}

    def added_to(self, content: RecipientsContent) -> RecipientsContent:
        table, changes = content.table, read_changes(content)
        if self._model is None or not table.summary or not changes:
            return content
        found = self._stored(content)
        if found is None:
            key = self._key(self._model, table, changes)
            if key not in self._asked:
                earlier = stored.answer_to(self._store, self._name, key) if self._digest_id is not None else None
                self._asked[key] = earlier or self._ask(self._model, table, changes)
            found = self._asked[key]
            if self._digest_id is not None:
                found = stored.keep(self._store, self._digest_id, content.recipients_of, table.language, found, asked=key)
        told = _only_told(found, {change.id for change in changes})
        return replace(content, model_summary=told, summary=ranked(content.summary, told, table.important))

    def _key(self, model: LanguageModel, table: DigestTable, changes: Sequence[Change]) -> str:
        """Return what identifies a question about some changes: SHA-256, hexadecimal."""
        hashes = ContentHashes(self._settings, table)
        asked = model.model, model.host, table.summary, table.language, [(change.id, hashes(change)) for change in changes]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def _stored(self, content: RecipientsContent) -> ModelSummary | None:
        if self._digest_id is None:
            return None
        return stored.find(self._store, self._digest_id, content.recipients_of, content.table.language)

    def _ask(self, model: LanguageModel, table: DigestTable, changes: Sequence[Change]) -> ModelSummary:
        try:
            return SummaryRequest(model, ChangeText(self._settings, table), language=table.language, question=question_of(table), renew=self._renew).summary(changes)
        except ModelError as error:
            logger.warning("the digest has no summary: %s", error)
            return ModelSummary(problem=clean_line(error.what, 500))
        except (PipelineError, OSError):
            raise  # the store or the disk caused the error, so the digest cannot be built now
        except Exception as error:
            logger.exception("the digest has no summary")
            return ModelSummary(problem=clean_line(Mask.of(self._settings)(f"{type(error).__name__}: {error}"), 500))


def read_changes(content: RecipientsContent) -> list[Change]:
    """Return the changes that the model reads: at most MAX_READ of those that the mail can name, a fair share of each kind's and of each spider's.

    Those that the mail can show in full are read first, in the order of the mail.
    """
    summary = content.summary
    shares = fair_shares([len(summary.top[kind]) + len(summary.further[kind]) for kind in summary.order], MAX_READ)
    first = [change for kind, share in zip(summary.order, shares, strict=True) for change in summary.top[kind][:share]]
    further = [change for kind, share in zip(summary.order, shares, strict=True)
               for change in fair_choice(summary.further[kind], max(0, share - len(summary.top[kind])))[0]]
    return [*first, *further]


def _only_told(summary: ModelSummary, told: set[int]) -> ModelSummary:
    """Return a summary without the claims about other changes than these.

    Between the attempts to build a digest, somebody may have changed who is told what.
    """
    claims = tuple(claim for claim in summary.claims if told.issuperset(claim.change_ids))
    if summary.claims and not claims:
        return ModelSummary(problem=NO_CLAIMS)
    return replace(summary, claims=claims, order=tuple(number for number in summary.order if number in told))
