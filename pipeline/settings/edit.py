"""Change keys of a spider's table in a settings file, and add files to settings.d.

Comments and the order of a file are kept.
"""

from __future__ import annotations

import codecs
import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pipeline.atomic_write import create_file, replace_file
from pipeline.errors import Problem, SettingsError, UsageError
from pipeline.settings.files import file_with, part_folder
from pipeline.settings.load import load
from pipeline.text import shown_url

_HEADER = re.compile(r"""\s*(\[\[?\s*(?:spiders|"spiders"|'spiders')\s*(?:\.[^\]#]*)?\]\]?)""")
"""The header of a spider's table, without the comment after it."""
_URL = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s"/@]*@)?[^\s"'<>?]*(?:\?[^\s"]*)?""")


_GROUPS = frozenset(["items", "fields", "details", "watch", "pages"])
"""The tables of a spider's table of which changes name only the changed keys. Any other value, such as a rule, is replaced as a whole."""


def merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spider's table, as TOML has it, with changes made to it."""
    result = dict(table)
    for name, value in changes.items():
        old = result.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and name in _GROUPS:
            result[name] = merged(old, value)
        else:
            result[name] = value
    return result


def write_part(settings_file: str | Path, name: str, text: str, *, fix: str) -> Path:
    """Write a new file NAME.toml to settings.d, and return its path. It has the mode of the settings file.

    fix: what to do if the file exists. Raises SettingsError, and writes nothing, if all settings together would not be valid, or UsageError
    if the file exists or cannot be written.
    """
    main = Path(settings_file)
    path = part_folder(main) / f"{name}.toml"
    load(main, drafts={path: text})
    try:
        path.parent.mkdir(exist_ok=True)
        if not create_file(path, text.encode(), like=main.stat()):
            raise UsageError("the file already exists and was not changed", where=str(path), fix=fix)
    except OSError as error:
        raise UsageError(f"the file cannot be written: {error.strerror}", where=str(path)) from error
    return path


def replace_text(main: Path, path: Path, before: bytes, after: str) -> Path:
    """Replace the text of a settings file, and keep the present file as NAME.bak. Return the path of the copy.

    main: the settings file, of which `path` may be a part. before: the content that the file must still have. Raises SettingsError if the
    settings would have problems, or if the file has been changed or cannot be written.
    """
    load(main, drafts={path: after})
    target = path.resolve()
    copy = target.with_name(f"{target.name}.bak")
    mark = codecs.BOM_UTF8 if before.startswith(codecs.BOM_UTF8) else b""

    def check() -> None:
        if target.read_bytes() != before:
            raise _failed(main, path, "the file was changed in the meantime, and was left as it is")

    try:
        check()
        like = target.stat()
        replace_file(copy, before, like=like)
        replace_file(target, mark + after.encode(), like=like, check=check)
    except OSError as error:
        raise _failed(main, path, f"the file cannot be written: {error.strerror}") from error
    return copy


def _failed(main: Path, path: Path, text: str) -> SettingsError:
    return SettingsError(main.name, [Problem("", text, "" if path == main else f"{path.parent.name}/{path.name}")])


class SpiderEdit:
    """A change of one spider's table in the settings file that contains it: settings.toml, or a file of settings.d.

    path: the file. before, after: its text before and after the change.
    """

    def __init__(self, settings_file: str | Path, spider: str, changes: Mapping[str, Any]) -> None:
        """Make the change in memory. Raises SettingsError if the file cannot be read or changed."""
        self._main = Path(settings_file)
        self.path = file_with(self._main, "spiders", spider)
        try:
            self._octets = self.path.read_bytes()
            self.before = self._octets.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise self._failed(f"the file cannot be read: {error}") from error
        self.after = self._changed(spider, changes)

    def _changed(self, spider: str, changes: Mapping[str, Any]) -> str:
        import tomlkit  # noqa: PLC0415  only commands that change settings need it
        from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

        try:
            wanted = merged(tomllib.loads(self.before)["spiders"][spider], changes)
            document = tomlkit.parse(self.before)
            _write(document["spiders"][spider], changes)
            text = tomlkit.dumps(document)
            found = tomllib.loads(text)["spiders"][spider]
        except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise self._failed(f"the table [spiders.{spider}] cannot be changed ({error}); change it yourself") from error
        if found != wanted:
            raise self._failed(f"the table [spiders.{spider}] cannot be changed without a change of other keys; change it yourself")
        return text

    def diff(self, mask: Callable[[str], str] = str) -> str:
        """Return the change as a unified diff without context, since other lines may contain secrets; "" if nothing changes.

        The header of the table follows the line numbers, as in the diffs of git. mask: masks known secrets; URLs are shown without user
        info and secret-looking parameters.
        """
        if self.after == self.before:
            return ""
        name = self.path.name if self.path.parent == self._main.parent else f"{self.path.parent.name}/{self.path.name}"
        lines = [f"--- {name}", f"+++ {name} (proposed)", *_hunks(self.before.splitlines(), self.after.splitlines())]
        return "\n".join(_URL.sub(lambda found: shown_url(found[0]), mask(line)) for line in lines)

    def apply(self) -> Path:
        """Validate the changed settings, keep the present file as NAME.bak, and replace the file. Return the path of the copy.

        Raises SettingsError if the settings would have problems, or if the file has been changed or cannot be written.
        """
        return replace_text(self._main, self.path, self._octets, self.after)

    def _failed(self, text: str) -> SettingsError:
        return _failed(self._main, self.path, text)


def _hunks(before: list[str], after: list[str]) -> Iterator[str]:
    """Yield the changed lines, after a line with the line numbers and the header of the table in which they are."""
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            headers = [found[1] for line in before[:start] if (found := _HEADER.match(line))]
            yield f"@@ -{_span(start, end)} +{_span(new_start, new_end)} @@ {headers[-1] if headers else ''}".rstrip()
            yield from (f"-{line}" for line in before[start:end])
            yield from (f"+{line}" for line in after[new_start:new_end])


def _span(start: int, end: int) -> str:
    """Return the numbers of lines as in a unified diff."""
    return f"{start + 1}" if end - start == 1 else f"{start + (end > start)},{end - start}"


def _write(table: MutableMapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Make changes in a table of tomlkit."""
    for name, value in changes.items():
        old = table.get(name)
        if isinstance(value, Mapping) and isinstance(old, MutableMapping) and name in _GROUPS:
            _write(old, value)
        else:
            table[name] = _value(value)


def _value(value: Any) -> Any:
    import tomlkit  # noqa: PLC0415

    if isinstance(value, Mapping):
        inline = tomlkit.inline_table()
        for name, inner in value.items():
            inline[name] = _value(inner)
        return tomlkit.value(f"{{ {inline.as_string()[1:-1]} }}")
    return [_value(entry) for entry in value] if isinstance(value, (list, tuple)) else value
