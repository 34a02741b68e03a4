"""Tests that what the program stores in English is recognized and translated, and that no sentence of the code is forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.languages.load import FOLDER, LANGUAGES, LanguageFile
from pipeline.languages.messages import messages, pattern_of

PIPELINE = FOLDER.parent
SOURCES = "\n".join(path.read_text("utf-8") for path in PIPELINE.rglob("*.py") if "languages" not in path.parts)
