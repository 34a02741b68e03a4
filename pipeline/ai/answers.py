"""Answers of the language model: validated against a schema, and its text as plain text."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.ai.errors import ModelError, Reason
from pipeline.text import clean_excerpt, clean_text

Answer = TypeVar("Answer", bound=BaseModel)

_THOUGHTS, _END_OF_THOUGHTS = re.compile(r"<think(?:ing)?>"), re.compile(r"</think(?:ing)?>")
_FENCE = re.compile(r"```[A-Za-z]*\s*\n")
_MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,2000}\)")
_URL = re.compile(r"\b(?:[a-z][a-z0-9+.-]{1,20}://|www\.|mailto:|javascript:|data:)\S*", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-zA-Z!][^<>]{0,500}>|\*\*|__|`")
_SPACE_BEFORE = re.compile(r"\s+([,.;:!?])")
_MOST_PASSES = 8


def parsed(text: str, schema: type[Answer]) -> Answer:
    """Return an answer as an instance of its schema. Raises ModelError if it is none.

    What many models write around the JSON object is ignored: thoughts before it, and a Markdown fence around it. The time is proportional to
    the length of the text, whatever it contains: no time limit ends this.
    """
    for candidate in _candidates(_without_thoughts(text).strip()):
        try:
            return schema.model_validate_json(candidate)
        except ValidationError:
            continue
    raise ModelError("the language model answered with something else than was asked for", reason=Reason.NONSENSE, sent=True)


def _without_thoughts(text: str) -> str:
    begin = _THOUGHTS.search(text)
    end = _END_OF_THOUGHTS.search(text, begin.end()) if begin is not None else None
    return text[:begin.start()] + text[end.end():] if begin is not None and end is not None else text


def _candidates(text: str) -> list[str]:
    fence = _FENCE.search(text)
    end = text.find("```", fence.end()) if fence is not None else -1
    first, last = text.find("{"), text.rfind("}")
    found = [text, text[fence.end():end].strip() if fence is not None and end >= 0 else "", text[first:last + 1] if 0 <= first < last else ""]
    return [each for each in dict.fromkeys(found) if each]


def plain(text: str, limit: int) -> str:
    """Return text of the model as one line of plain text for a mail or a page: without URLs, markup and hidden characters.

    limit: maximum number of characters; longer text is cut between two words.
    """
    text = clean_text(text[:limit * 8 + 1000])
    for _ in range(_MOST_PASSES):  # what is removed may have parted another URL or tag
        before, text = text, _URL.sub("", _MARKUP.sub("", _MARKDOWN_LINK.sub(r"\1", text)))
        if text == before:
            return clean_excerpt(_SPACE_BEFORE.sub(r"\1", text), limit)
    return ""
