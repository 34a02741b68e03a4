"""Check the expressions of `pipeline try --css EXPR`, before a page is fetched for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.settings import SelectorTable


def selectors(*, css: Sequence[str], xpath: Sequence[str], jmes: Sequence[str], source: Mapping[str, str]) -> list[dict[str, str]]:
    """Return each expression as a selector table. source: the keys `json` or `data` of those with `jmes`.

    Raises UsageError for an expression that is not valid.
    """
    found = [*({"css": text} for text in css), *({"xpath": text} for text in xpath), *({"jmes": text, **source} for text in jmes)]
    if source and not jmes:
        raise UsageError("--script and --data need --jmes", where="try")
    for table in found:
        try:
            SelectorTable.model_validate(table)
        except ValidationError as error:
            raise UsageError(error.errors(include_url=False)[0]["msg"], where="try") from error
    return found
