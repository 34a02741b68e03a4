"""Processes that ask the language model until the day's tokens are used: SETTINGS NUMBER.

Each prints the reason at its end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import BaseModel

import pipeline.ai.client  # noqa: F401  loaded once, before the processes start
from pipeline.ai.errors import ModelError
from pipeline.ai.language_model import LanguageModel
from pipeline.ai.prompt import Record
from pipeline.settings import load
from pipeline.store import open_store_of


class Told(BaseModel):
    title: str


def ask_until_refused(file: Path) -> None:
    settings = load(file)
    store = open_store_of(settings)
    try:
        while True:
            model = LanguageModel.of(settings, store, digest="morning")
            assert model is not None
            model.ask("test", "Say something.", [Record(1, "text")], Told)
    except ModelError as error:
        os.write(1, f"{os.getpid()} {error.reason}\n".encode())
    finally:
        store.close()


if __name__ == "__main__":
    children = []
    for _ in range(int(sys.argv[2])):
        child = os.fork()
        if child == 0:
            ask_until_refused(Path(sys.argv[1]))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
