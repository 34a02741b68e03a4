"""Read the files of other programs, which are untrusted.

Their size, depth and number of values are limited, and nothing in them is executed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.text import size_for_people

MAX_FILE = 32 * 10**6
"""Maximum size of a file, and of a file in an archive after decompression."""
_MAX_ARCHIVE = 1000 * 10**6
"""Maximum size of an archive: a backup also contains the history of its pages, which is not read."""
_MAX_READ = 200 * 10**6
"""Maximum size of everything that is read from an archive, after decompression."""
_MAX_VALUES = 500_000
_MAX_DEPTH = 40
_TOO_MANY = "the file has too many values, and is not read"
_TOO_DEEP = "the file is nested too deeply, and is not read"


def read_file(path: Path, limit: int = MAX_FILE) -> bytes:
    """Return the content of a regular file. Raises UsageError if the file is larger than `limit` bytes or cannot be read."""
    if not path.exists():
        raise UsageError("the file does not exist", where=str(path))
    if not path.is_file():
        raise UsageError("this is not a regular file", where=str(path))
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"the file is larger than {size_for_people(limit)}, and is not read", where=str(path))
    return data


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 text file. Raises UsageError."""
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the file is not UTF-8 text (byte {error.start})", where=str(path)) from error


def read_yaml(path: Path) -> list[Any]:
    """Return the documents of a YAML file, without empty ones. Only plain data is constructed. Raises UsageError."""
    import yaml  # type: ignore[import-untyped]  # its types are a package of their own

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = read_text(path)
    try:
        _check_events(yaml, yaml.parse(text, Loader=loader), str(path))
        return [each for each in yaml.load_all(text, Loader=loader) if each is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark is not None else ""
        raise UsageError(f"the file is not valid YAML: {getattr(error, 'problem', None) or type(error).__name__}{place}", where=str(path)) from error
    except (RecursionError, ValueError, OverflowError) as error:  # ValueError: a date such as 2026-13-45
        raise UsageError(f"the file is not valid YAML: {error}", where=str(path)) from error


def _check_events(yaml: Any, events: Iterable[Any], where: str) -> None:
    """Raise UsageError if YAML has too many values once its aliases are replaced, is nested too deeply, or refers to itself.

    Nothing is constructed, because aliases and merge keys can make a small file into billions of values.
    """
    sizes: dict[str, int] = {}
    open_anchors: list[str | None] = []
    counts = [0]
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in open_anchors:
                raise UsageError("the file refers to itself, and is not read", where=where)
            counts[-1] += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_anchors.append(event.anchor)
            counts.append(1)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = counts.pop(), open_anchors.pop()
            counts[-1] += size
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            counts[-1] += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if counts[-1] > _MAX_VALUES:
            raise UsageError(_TOO_MANY, where=where)
        if len(counts) > _MAX_DEPTH:
            raise UsageError(_TOO_DEEP, where=where)


def parse_json(data: bytes, where: str) -> Any:
    """Return the value of a JSON document. Raises UsageError."""
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"the file is not valid JSON: {error}", where=where) from error
    _check_size(found, where)
    return found


def _check_size(value: object, where: str) -> None:
    """Raise UsageError if a value has too many parts, or is nested too deeply."""
    left = _MAX_VALUES
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        left -= len(level)
        if left < 0:
            raise UsageError(_TOO_MANY, where=where)
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())]
        if not level:
            return
    raise UsageError(_TOO_DEEP, where=where)


class SourceFolder:
    """The files of a backup: a ZIP archive, or a folder. Only files that are asked for by name are read, and nothing is extracted."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError if `path` is neither a folder nor a ZIP archive."""
        self.path = path
        self._left = _MAX_READ
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            return
        if path.is_file() and path.stat().st_size > _MAX_ARCHIVE:
            raise UsageError(f"the file is larger than {size_for_people(_MAX_ARCHIVE)}, and is not read", where=str(path))
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError) as error:
            raise UsageError("the file is not a ZIP archive", where=str(path)) from error

    def names(self, last: str) -> list[str]:
        """Return the files with this name in the folder or in a folder of it, such as "4f3…/watch.json", sorted."""
        if self._archive is None:
            return sorted(str(each.relative_to(self.path)) for each in (self.path / last, *self.path.glob(f"*/{last}")) if each.is_file())
        return sorted(each for each in set(self._archive.namelist()) if each.rpartition("/")[2] == last and each.count("/") <= 1)

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises UsageError if it is too large or damaged."""
        where = f"{self.path}: {name}"
        limit = min(MAX_FILE, self._left)
        try:
            if self._archive is None:
                data = read_file(self.path / name, limit)
            else:
                with self._archive.open(name) as file:
                    data = file.read(limit + 1)
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, OSError) as error:  # RuntimeError: encrypted
            raise UsageError(f"the file cannot be read: {error}", where=where) from error
        if len(data) > limit:
            raise UsageError("the files are too large, and are not read", where=where)
        self._left -= len(data)
        return data

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()
