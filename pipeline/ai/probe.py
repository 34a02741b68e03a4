"""Ask the server of the language model whether it answers, for `check --connect` and `doctor`."""

from __future__ import annotations

from pydantic import BaseModel

from pipeline.ai.errors import ModelError, Reason
from pipeline.ai.language_model import LanguageModel
from pipeline.ai.open_client import open_client
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.text import clean_line, counted

_LIST_S = 10.0
_MOST_NAMES = 5


class _Ready(BaseModel):
    ready: bool


def probe(settings: Settings, store: Store) -> str:
    """Ask the server for its models and for a tiny answer, and return what it said. Raises ModelError, StoreError."""
    table, model = settings.ai, LanguageModel.of(settings, store, digest="")
    assert table is not None
    assert model is not None
    try:
        names = open_client(table).models(timeout_s=min(_LIST_S, table.timeout))
    except ModelError as error:
        if error.reason in (Reason.NOT_INSTALLED, Reason.NOT_SET_UP, Reason.UNREACHABLE):
            raise
        names = []  # some servers do not list their models
    model.ask("test", "Say that you are ready.", [], _Ready)
    said = [f"answered with {counted(model.input_tokens + model.output_tokens, 'token')}"]
    if names and table.model not in names:
        shown = ", ".join(clean_line(name, 60) for name in names[:_MOST_NAMES])
        said.append(f"the server lists other models: {shown}{', …' if len(names) > _MOST_NAMES else ''}")
    return "; ".join(said)
