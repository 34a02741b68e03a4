"""Read and validate settings.toml and the files of settings.d.

All problems are reported at once, each with its key and its fix.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.errors import Problem, SettingsError
from pipeline.settings.cross_checks import cross_check
from pipeline.settings.error_messages import explain
from pipeline.settings.fields.secret import Secret
from pipeline.settings.files import SettingsFiles
from pipeline.settings.models.root import Settings

_NUL = re.compile(r"\\[uU]0000")
"""Matches the escape of U+0000 in TOML. Only a file with this escape is searched value by value, because the search is slow for ten
thousand tables."""

_NEEDED_TABLES = re.compile(r"^[ \t]*\[(?:pipeline|heartbeat)\][^\n]*(?:\n(?![ \t]*\[)[^\n]*)*\n?", re.MULTILINE)
"""Matches the tables [pipeline] and [heartbeat], up to the next table."""
_MENTIONED_TABLES = re.compile(r"""^[ \t]*\[?[ \t]*["']?(?:pipeline|heartbeat)["']?[ \t]*[].=]""", re.MULTILINE)
"""Matches every line that begins one of these tables, however it is written."""


def load(path: str | Path, *, drafts: Mapping[Path, str] | None = None) -> Settings:
    """Read, validate and cross-check a settings file, with the files in the folder of its parts (settings.d).

    drafts: texts that some of these files would have, by path; they are validated instead of the files. Raises SettingsError that
    lists all problems.
    """
    path = Path(path)
    files = SettingsFiles(path, drafts)
    problems = list(files.problems)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate({**files.raw, "file": str(path)})
    except ValidationError as error:
        problems += explain(error, files.raw)
    if "file" in files.raw:
        problems.append(Problem("file", "unknown key"))
    if any(_NUL.search(text) for text in files.texts):
        problems += _nul_problems(files.raw, "")
    problems += cross_check(files.raw)
    if problems or settings is None:
        raise SettingsError(path.name, sorted({files.located(problem) for problem in problems}, key=lambda p: (p.file, p.key, p.text)))
    for secret in _secrets(settings):
        secret.base = str(settings.folder)
    return settings


def load_for_heartbeat(path: str | Path) -> tuple[Settings, SettingsError | None]:
    """Load the settings that a command needs to reach the heartbeat.

    Returns the settings, and the problems of the file (None if there are none).
    If the file has problems, only its tables [pipeline] and [heartbeat] are loaded. The status of a running service can therefore be
    read while somebody edits the file. Raises SettingsError if the file cannot be read, or if one of these two tables has problems.
    """
    try:
        return load(path), None
    except SettingsError as error:
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
            return Settings.model_validate({**_needed_tables(text), "file": str(path)}), error
        except (OSError, ValueError):  # UnicodeDecodeError, TOMLDecodeError and ValidationError are ValueErrors
            raise error from None


def _needed_tables(text: str) -> dict[str, Any]:
    """Return the tables [pipeline] and [heartbeat] of a settings file, even if other parts are not valid TOML.

    Raises TOMLDecodeError if one of the two tables is not valid, or is not written under a header of its own.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        found = [table[0] for table in _NEEDED_TABLES.finditer(text)]
        if len(found) < len(_MENTIONED_TABLES.findall(text)):
            raise
        return tomllib.loads("".join(found))
    return {name: raw[name] for name in ("pipeline", "heartbeat") if name in raw}


def secrets(part: object) -> list[Secret]:
    """Return all secrets to which the settings, or a part of the settings, refer."""
    return list(_secrets(part))


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in value.model_fields_set:  # skip default values, which are never secrets, to save time
            yield from _secrets(getattr(value, name))
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _secrets(entry)
    elif isinstance(value, (tuple, list)):
        for entry in value:
            yield from _secrets(entry)


def _nul_problems(value: object, key: str) -> Iterator[Problem]:
    """Yield a problem for each value that contains U+0000.

    Such a value is never valid, because system calls cut a text at U+0000.
    """
    if isinstance(value, str) and "\0" in value:
        yield Problem(key, "the value contains the character U+0000; remove this character")
    for name, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _nul_problems(entry, f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}".lstrip("."))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of settings.toml, for editors."""
    found = Settings.model_json_schema(by_alias=True)
    found["properties"].pop("file", None)
    return found
