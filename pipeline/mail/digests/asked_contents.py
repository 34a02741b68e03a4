"""What a digest or its preview reports after a language model was asked about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from pipeline.ai.language_model import LanguageModel
from pipeline.mail.digests.contents import RecipientsContent, contents_of
from pipeline.mail.digests.judging import Judge
from pipeline.mail.digests.model_summary import with_summaries
from pipeline.settings import Settings
from pipeline.store import Store


def asked_model(store: Store, settings: Settings, name: str) -> LanguageModel | None:
    """Return the language model of a digest, with its time limit for all requests; None if the digest asks none."""
    table = settings.digests.get(name)
    return LanguageModel.of(settings, store, digest=name) if table is not None and table.asks_model else None


def _nothing() -> None:
    """Do nothing. This is the default of `renew`."""


def asked_contents(store: Store, settings: Settings, name: str, run_ids: Sequence[int], model: LanguageModel | None, *, now: datetime,
                   digest_id: int | None = None, summarize: bool = True, even_empty: bool = False, renew: Callable[[], None] = _nothing) -> list[RecipientsContent]:
    """Return what to report to each group of recipients, as contents_of does, without the changes that the language model judges to be
    none that `only_if` wants, and with the summaries of what is left.

    The model is asked only for what is not stored yet. digest_id: id of the claim; None for a preview. summarize: False for a mail that shows
    no summary. renew: called before each request; it renews the lease of the digest, or raises LeaseLostError.
    """
    judge = Judge(store, settings, name, model, now=now, renew=renew)
    contents = contents_of(store, settings, name, run_ids, even_empty=even_empty, judge=judge)
    return with_summaries(store, settings, name, contents, model, digest_id=digest_id, renew=renew) if summarize else contents


def asked_text(model: LanguageModel) -> str:
    """Return what the model was asked until now, in one sentence; "" if nothing."""
    tokens = model.input_tokens + model.output_tokens
    return f"the language model {model.model} at {model.host} was asked, with {model.input_tokens} tokens sent and {model.output_tokens} received" if tokens else ""
