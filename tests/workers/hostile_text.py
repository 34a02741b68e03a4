"""A check of a text that goes wrong, for test_examine_text.py."""

from __future__ import annotations

import os


def perform(text: str) -> dict[str, str]:
    while text == "endless":
        pass
    if text == "deadly":
        os._exit(3)
    return {"text": text}
