"""Search everything that a test left (logs, pages, mails, answers) for secrets.

conftest.py runs it after every test that wrote a settings.toml: the secrets are those that file refers to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.secret_forms import SecretForms

KEPT = ("jars", "cookies", "sent")
"""Folders where secrets belong: sessions are kept in one, and some tests have peers that keep what they were told."""
FOUND = (".sqlite3", ".sqlite3-wal", ".sqlite3-shm")
"""What a site shows is kept as it is: httpbin shows each request's secrets. Whether we put any there, tests of their own ask."""
OURS = ("pipeline.sqlite3", "serve.lock", "heartbeat-token")
"""A folder with one of these is a data_dir."""
SHORTEST = 6
"""Shorter values turn up by chance."""
WITHOUT_PASSWORD = re.compile(r"postgresql://[^:@/]+@[^@]+")
"""The URL of a database without a password. Messages name the database, and hide only a password."""
LARGEST = 20_000_000


def secrets_of(folder: Path, environment: Mapping[str, str]) -> dict[str, Path | None]:
    """What the settings files in a folder refer to, and the file it is in, where it is in one."""
    found: dict[str, Path | None] = {}
    for file in [*folder.glob("*.toml"), *folder.glob("*/*.toml"), *folder.glob("*/settings.d/*.toml")]:
        if not file.is_file():
            continue
        base = file.parent.parent if file.parent.name == "settings.d" else file.parent
        try:
            table = tomllib.loads(file.read_text("utf-8"))
        except (ValueError, OSError):
            continue  # a test of broken settings
        for kind, place in _references(table):
            path = base / place
            if kind == "env" and place in environment:
                found[environment[place].strip()] = None
            elif kind == "file" and path.is_file():
                found[path.read_text("utf-8", "replace").strip()] = path.resolve()
    return {value: path for value, path in found.items() if len(value) >= SHORTEST and not WITHOUT_PASSWORD.fullmatch(value)}


def _references(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if len(value) == 1 and set(value) <= {"env", "file"} and all(isinstance(place, str) for place in value.values()):
            yield from value.items()
        for entry in value.values():
            yield from _references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _references(entry)


def _written(folder: Path) -> Iterator[Path]:
    """What the program wrote: its data_dirs, the log of a service, and what commands answered."""
    for mark in OURS:
        for data_dir in {path.parent for path in folder.rglob(mark)}:
            yield from data_dir.rglob("*")
    yield from (path for name in ("serve.log", ".answers") for path in folder.rglob(name))


def leaks(folder: Path, secrets: Mapping[str, Path | None]) -> list[str]:
    """The files below a folder that have a secret in them, in any of the forms it may take on its way."""
    own = {path for path in secrets.values() if path is not None}
    searched = {value: SecretForms([value], shortest=SHORTEST) for value in secrets}
    found = []
    for path in sorted(_written(folder)):
        if path.suffix in (".toml", *FOUND) or not path.is_file() or path.is_symlink() or path.resolve() in own \
                or set(path.relative_to(folder).parts[:-1]) & set(KEPT) or path.stat().st_size > LARGEST:
            continue
        content = path.read_bytes()
        found += [f"{path.relative_to(folder)} has {value!r}" for value, forms in searched.items() if forms.are_in(content)]
    return sorted(set(found))
