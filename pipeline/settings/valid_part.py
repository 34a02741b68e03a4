"""Load the valid part of a settings file, so that `check` reports all other problems at once, too."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import Problem, SettingsError
from pipeline.settings.error_messages import explain
from pipeline.settings.files import SettingsFiles
from pipeline.settings.load import secrets
from pipeline.settings.models.root import Settings

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_MOST_ROUNDS = 20


def load_valid_part(path: str | Path, problems: Iterable[Problem]) -> Settings | None:
    """Return the settings without the values that have problems; None if the file is not valid TOML or no part of it is valid.

    problems: the problems that `load` has reported for this file. If a table is not valid without such a value, the table is left out.
    """
    try:
        raw = SettingsFiles(Path(path)).raw
    except SettingsError:  # a file cannot be read or is not valid TOML
        return None
    keys = [problem.key for problem in problems]
    for _ in range(_MOST_ROUNDS):
        for key in keys:
            _remove(raw, key)
        try:
            settings = Settings.model_validate({**copy.deepcopy(raw), "file": str(path)})
        except ValidationError as error:
            keys = [problem.key for problem in explain(error, raw)]
            continue
        for secret in secrets(settings):
            secret.base = str(settings.folder)
        return settings
    return None


def _remove(raw: dict[str, Any], key: str) -> None:
    """Remove the value at a dotted key or, if the table has no such value, the innermost table that exists on the way to it."""
    steps: list[str | int] = [int(number) if number else name for name, number in _STEP.findall(key)]
    path: list[tuple[Any, Any]] = []
    place: Any = raw
    for step in steps:
        if not (step in place if isinstance(place, dict) else isinstance(place, list) and step in range(len(place))):
            break
        path.append((place, step))
        place = place[step]
    if path:
        table, step = path[-1]
        del table[step]
