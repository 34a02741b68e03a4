"""Tests that an answer of the language model is read in a time that does not depend on what it says."""

from __future__ import annotations

import time

import pytest
from pydantic import BaseModel

from pipeline.ai.answers import parsed
from pipeline.ai.client import MAX_ANSWER_CHARACTERS
from pipeline.ai.errors import ModelError


class Number(BaseModel):
    n: int


@pytest.mark.parametrize("text", [
    '{"n": 1}', '<think>{"n": 2}</think>\n{"n": 1}', '<thinking>\n</thinking> {"n": 1}', '```json\n{"n": 1}\n```', '```\n\n{"n": 1}\n\n ```\nDone.',
    'Here it is:\n```JSON \n{"n": 1}```', 'Sure: {"n": 1} Bye', '<think>```\n{"n": 2}\n```</think>```\n{"n": 1}\n```'])
def test_what_models_write_around_an_answer_is_ignored(text: str) -> None:
    assert parsed(text, Number).n == 1


@pytest.mark.parametrize("unit", [" ", "\n", "<think>", "```", "```\n", "``` ", "```a", "{", "[", '{"n":', "</think>", "<think></think>", "`", '"', "\\"])
@pytest.mark.parametrize("frame", ["x{}x", "```{}x", "<think>{}", '{{"n": "{}"}}'])
def test_reading_an_answer_takes_no_time(unit: str, frame: str) -> None:
    text = frame.format(unit * (MAX_ANSWER_CHARACTERS // len(unit)))
    began = time.process_time()
    with pytest.raises(ModelError, match="something else than was asked for"):
        parsed(text, Number)
    assert time.process_time() - began < 1
