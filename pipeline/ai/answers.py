"""Answers of the language model: validated against a schema, and its text as plain text."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.ai.errors import ModelError, Reason
from pipeline.text import clean_excerpt, clean_text

Answer = TypeVar("Answer", bound=BaseModel)

_THINKING = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_FENCED = re.compile(r"```[A-Za-z]*\s*\n(.*?)\n?\s*```", re.DOTALL)
_MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,2000}\)")
_URL = re.compile(r"\b(?:[a-z][a-z0-9+.-]{1,20}://|www\.|mailto:|javascript:|data:)\S*", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-zA-Z!][^<>]{0,500}>|\*\*|__|`")
_SPACE_BEFORE = re.compile(r"\s+([,.;:!?])")
_MOST_PASSES = 8


def parsed(text: str, schema: type[Answer]) -> Answer:
    """Return an answer as an instance of its schema. Raises ModelError if it is none.

    What many models write around the JSON object is ignored: thoughts before it, and a Markdown fence around it.
    """
    for candidate in _candidates(_THINKING.sub("", text, count=1).strip()):
        try:
            return schema.model_validate_json(candidate)
        except ValidationError:
            continue
    raise ModelError("the language model answered with something else than was asked for", reason=Reason.NONSENSE, sent=True)


def _candidates(text: str) -> list[str]:
    fenced = _FENCED.search(text)
    first, last = text.find("{"), text.rfind("}")
    found = [text, fenced[1] if fenced else "", text[first:last + 1] if 0 <= first < last else ""]
    return [each for each in dict.fromkeys(found) if each]


def plain(text: str, limit: int) -> str:
    """Return text of the model as one line of plain text for a mail or a page: without URLs, markup and hidden characters.

    limit: maximum number of characters; longer text is cut between two words.
    """
    text = clean_text(text[:limit * 8 + 1000])
    for _ in range(_MOST_PASSES):  # what is removed may have parted another URL or tag
        before, text = text, _MARKUP.sub("", _URL.sub("", _MARKDOWN_LINK.sub(r"\1", text)))
        if text == before:
            return clean_excerpt(_SPACE_BEFORE.sub(r"\1", text), limit)
    return ""
