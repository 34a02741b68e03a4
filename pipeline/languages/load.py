"""Read the fixed texts of a language from its TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pipeline.languages.phrase import Phrase
from pipeline.languages.wording import AlertWording, Wording

FOLDER = Path(__file__).parent
LANGUAGES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
"""The languages that have a file, such as "en" and "zh"."""

Texts = TypeVar("Texts", Wording, AlertWording)


@cache
def wording(language: str, folder: Path = FOLDER) -> Wording:
    """Return the fixed texts of digests. Raises ValueError that names the file and the key if a text is missing or unknown."""
    return _read(Wording, "digest", language, folder)


@cache
def alert_wording(language: str, folder: Path = FOLDER) -> AlertWording:
    """Return the fixed texts of alerts. Raises ValueError that names the file and the key if a text is missing or unknown."""
    return _read(AlertWording, "alert", language, folder)


def _read(texts: type[Texts], section: str, language: str, folder: Path) -> Texts:
    path = folder / f"{language}.toml"
    given = tomllib.loads(path.read_text("utf-8")).get(section, {})
    kinds = get_type_hints(texts)
    wanted = {field.name for field in fields(texts)} - {"lang"}
    for problem, names in (("is missing", wanted - given.keys()), ("is an unknown key", given.keys() - wanted)):
        if names:
            raise ValueError(f"{path.name}: {section}.{min(names)} {problem}")
    try:
        values: dict[str, Any] = {name: _phrase(value, language) if kinds[name] is Phrase else
                                  {key: _phrase(text, language) for key, text in value.items()} for name, value in given.items()}
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: a text in [{section}] has the wrong type: {error}") from error
    return texts(lang=language, **values)


def _phrase(value: str | Mapping[str, str], language: str) -> Phrase:
    return Phrase(value, language) if isinstance(value, str) else Phrase(value["other"], language, value)
