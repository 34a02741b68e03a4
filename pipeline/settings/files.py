"""Read settings.toml and the files in settings.d as one table, and find out when they change.

The files of settings.d are all regular files there whose names end in .toml and do not begin with a dot. Their order has no effect,
because no entry may be in two files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import Problem, SettingsError
from pipeline.settings.toml_hints import encoding_hint, syntax_hint

NAMED_ENTRIES = ("spiders", "digests", "proxies", "calendars")
"""Tables whose entries may be spread over several files. Every other table must be in one file."""
_MAIN_ONLY = ("pipeline", "heartbeat")
"""Tables that commands read although other parts of the settings have problems (load_for_heartbeat)."""


class SettingsFiles:
    """The settings of all files, as one table.

    raw: the merged table, as tomllib reads it. texts: the text of each file. problems: entries that are in two files, or in the wrong
    file.
    """

    def __init__(self, path: Path, drafts: Mapping[Path, str] | None = None) -> None:
        """Read all files. Raises SettingsError if a file cannot be read or is not valid TOML.

        drafts: texts that files would have, by path; they are used instead of the files.
        """
        drafts = drafts or {}
        self._main = path
        self.raw: dict[str, Any] = {}
        self.texts: list[str] = []
        self.problems: list[Problem] = []
        self._file_of: dict[str, str] = {}
        self._add("", *_parsed(path, str(path), draft=drafts.get(path)))
        unreadable: list[Problem] = []
        for part in sorted({*part_files(path), *drafts} - {path}):
            name = f"{part.parent.name}/{part.name}"
            try:
                self._add(name, *_parsed(part, str(path), name, drafts.get(part)))
            except SettingsError as error:
                unreadable += error.problems
        if unreadable:
            raise SettingsError(path.name, unreadable)

    def _add(self, name: str, text: str, raw: dict[str, Any]) -> None:
        """Add the table of a file. name: how messages name a file of settings.d; "" for the main file."""
        self.texts.append(text)
        for key, value in raw.items():
            if name and key in _MAIN_ONLY:
                self.problems.append(Problem(key, f"this table must be in {self._main.name}", name))
            elif key in NAMED_ENTRIES and isinstance(value, dict) and isinstance(self.raw.setdefault(key, {}), dict):
                for entry, inner in value.items():
                    self._put(self.raw[key], entry, inner, f"{key}.{entry}", name)
            else:
                self._put(self.raw, key, value, key, name)

    def _put(self, table: dict[str, Any], key: str, value: object, dotted: str, name: str) -> None:
        if key in table:
            other = self._file_of.get(dotted) or self._main.name
            self.problems.append(Problem(dotted, f"is also in {other}; keep it in one of the two files", name))
            return
        table[key] = value
        if name:
            self._file_of[dotted] = name

    def located(self, problem: Problem) -> Problem:
        """Return the problem with the file that contains its key, if this is not the main file."""
        key = self._entry_of(problem.key)
        return Problem(problem.key, problem.text, self._file_of[key]) if key and not problem.file else problem

    def file_of(self, key: str) -> str:
        """Return the name of the file that contains a key, such as settings.toml or settings.d/shop.toml."""
        return self._file_of.get(self._entry_of(key), self._main.name)

    def _entry_of(self, key: str) -> str:
        """Return the longest entry of a file of settings.d to which a key belongs; "" if it is in the main file."""
        return max((entry for entry in self._file_of if key == entry or key.startswith((f"{entry}.", f"{entry}["))), key=len, default="")


def part_folder(path: Path) -> Path:
    """Return the folder whose files are parts of a settings file: settings.d for settings.toml, other.d for other.toml."""
    return path.with_name(f"{path.stem}.d")


def part_files(path: Path) -> list[Path]:
    """Return the files that are parts of a settings file, sorted by name.

    Raises SettingsError if the folder exists and cannot be listed.
    """
    folder = part_folder(path)
    if folder == path:
        return []
    try:
        return sorted(each for each in folder.iterdir() if each.suffix == ".toml" and not each.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsError(path.name, [Problem("", f"the folder cannot be read: {error.strerror}", folder.name)]) from error


def file_with(path: str | Path, table: str, entry: str) -> Path:
    """Return the settings file that contains an entry of a table, such as the spider "books" of "spiders".

    An entry that is in no file of settings.d counts as part of the main file.
    """
    path = Path(path)
    for part in part_files(path):
        try:
            found = tomllib.loads(part.read_bytes().decode("utf-8-sig")).get(table)
        except (OSError, ValueError):  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
            continue
        if isinstance(found, dict) and entry in found:
            return part
    return path


def shown_path(folder: Path, path: str) -> str:
    """Return a path as messages show it: relative to the folder of the settings if it is in there."""
    absolute = Path(path).absolute()
    return str(absolute.relative_to(folder)) if path and absolute.is_relative_to(folder) else path


def version_of(path: str | Path) -> tuple[tuple[str, int, int], ...]:
    """Return the name, modification time and size of every settings file. If one of these values differs, the settings have changed."""
    return tuple(_versions(Path(path)))


def _versions(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        parts = part_files(path)
    except SettingsError:
        parts = [part_folder(path)]
    for each in (path, *parts):
        try:
            found = each.stat()
        except OSError:
            yield each.name, 0, -1
        else:
            yield each.name, found.st_mtime_ns, found.st_size


def _parsed(path: Path, main: str, name: str = "", draft: str | None = None) -> tuple[str, dict[str, Any]]:
    """Return the text of a file, and its table. Raises SettingsError of the file `main`.

    name: see SettingsFiles._add. draft: the text to use instead of the file's.
    """
    def failed(text: str) -> SettingsError:
        return SettingsError(main, [Problem("", text, name)])

    if draft is None and name and not path.is_file():  # a FIFO would block
        raise failed("this is not a regular file; remove it, or choose a name that does not end in .toml")
    text = draft or ""
    try:
        text = path.read_bytes().decode("utf-8-sig") if draft is None else draft
        return text, tomllib.loads(text)
    except FileNotFoundError as error:
        raise failed("the settings file does not exist; create one with `pipeline init`") from error
    except OSError as error:
        raise failed(f"the settings file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise failed(f"the settings file is not UTF-8 text (byte {error.start}){encoding_hint(error.object)}") from error
    except RecursionError as error:
        raise failed("the settings file is nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        raise failed(f"the settings file is not valid TOML: {error}{syntax_hint(str(error), text)}") from error
