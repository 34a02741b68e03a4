"""Check the table of a spider that came by the pages or the API, in a process with limits.

The service lets a child process call `perform`, because a hostile text could take its event loop's time and memory: deep nesting,
expressions that explode when they are compiled.
"""

from __future__ import annotations

import resource
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.cli.settings_check.check import remarks_on
from pipeline.cli.settings_check.draft_policy import policy_problems
from pipeline.errors import Problem, SettingsError
from pipeline.settings import Settings, load
from pipeline.settings.cross_checks import ENTRY_NAME
from pipeline.settings.drafts import DRAFT_BYTES
from pipeline.settings.files import SettingsFiles, file_with, part_folder
from pipeline.settings.key_lines import line_of, line_of_error
from pipeline.settings.masking import Mask
from pipeline.settings.toml_hints import syntax_hint
from pipeline.text import escape_line

MEMORY_BYTES = 2**31
CPU_S = 30
MOST_PROBLEMS = 50
LONGEST_TEXT = 1000


class _RefusedError(Exception):
    """Ends a check whose further steps would make no sense. problems: why. is_taken: whether there is a spider or a file of this name already."""

    def __init__(self, *problems: Problem, is_taken: bool = False) -> None:
        super().__init__(problems)
        self.problems = list(problems)
        self.is_taken = is_taken


def check(settings_file: str, text: str, spider: str = "") -> dict[str, Any]:
    """Check what the settings would be with a draft: a new file of settings.d, or the file that contains the table of a spider.

    spider: the spider whose file is edited; "" for a new spider. Returns {"name": the name of the spider, "file": the path of the file,
    "is_taken": whether there is one of this name, "problems": a list of {"key", "text", "line", "warning"}}. The file can be written if all problems are warnings.
    """
    main = Path(settings_file)
    name, path, mask, is_taken = spider, main, Mask(), False
    found: list[dict[str, Any]]
    try:
        settings, raw = _current(main)
        mask = Mask.of(settings)
        tables = _parsed(text)
        name, path = _place(main, tables, spider, raw)
        drafted, problems = _loaded(main, path, name, text)
        table = drafted.spiders[name] if drafted is not None else None
        problems += policy_problems(name, tables["spiders"][name], table, settings, raw.get("spiders", {}))
        found = [_shown(problem, text) for problem in problems] if problems or drafted is None else _remarks(drafted, name, text)
    except _RefusedError as refused:
        found, is_taken = [_shown(problem, text) for problem in refused.problems], refused.is_taken
    except (RecursionError, MemoryError):
        found = [_shown(Problem("", "the text is nested too deeply, or needs too much memory"), text)]
    found = sorted({each["key"] + each["text"]: each for each in found}.values(), key=lambda each: (each["warning"], each["line"] or 0))
    return {"name": name, "file": str(path), "is_taken": is_taken, "problems": [{**each, "text": mask(each["text"])[:LONGEST_TEXT]} for each in found[:MOST_PROBLEMS]]}


def _current(main: Path) -> tuple[Settings, dict[str, Any]]:
    """Return the settings without the draft, and their tables as tomllib reads them."""
    try:
        return load(main), SettingsFiles(main).raw
    except SettingsError as error:
        raise _RefusedError(Problem("", "the settings of the service have problems without this text; correct them first"),
                            *(Problem("", line) for line in error.lines())) from error


def _parsed(text: str) -> dict[str, Any]:
    if len(text.encode("utf-8", "surrogatepass")) > DRAFT_BYTES:
        raise _RefusedError(Problem("", f"the text has more than {DRAFT_BYTES:,} bytes"))
    try:
        text.encode()  # a lone surrogate cannot be written to a file
        return tomllib.loads(text)
    except RecursionError as error:
        raise _RefusedError(Problem("", "the text is nested too deeply")) from error
    except UnicodeEncodeError as error:
        raise _RefusedError(Problem("", "the text contains half of a character (a lone surrogate)")) from error
    except tomllib.TOMLDecodeError as error:
        raise _RefusedError(Problem("", f"this is not valid TOML: {error}{syntax_hint(str(error), text)}")) from error


def _place(main: Path, tables: dict[str, Any], spider: str, raw: dict[str, Any]) -> tuple[str, Path]:
    """Return the name of the draft's spider and its file. Raises _RefusedError if the text is more than the table of one spider."""
    spiders = tables.get("spiders")
    spiders = spiders if isinstance(spiders, dict) else {}
    name = spider or next(iter(spiders), "")
    if not isinstance(spiders.get(name), dict):
        raise _RefusedError(Problem("", f"the text has no table [spiders.{spider or 'NAME'}]"))
    path = file_with(main, "spiders", spider) if spider else part_folder(main) / f"{name}.toml"
    before = tomllib.loads(path.read_bytes().decode("utf-8-sig")) if spider else {}
    if others := sorted(set(_others(tables, name, before)) | set(_others(before, name, tables))):
        raise _RefusedError(*(Problem(key, f"only the table [spiders.{name}] can be written here; the rest of the file must stay as it is" if spider
                                      else f"only one table can be written here, [spiders.{name}]; remove this") for key in others))
    if spider:
        return name, path
    if not ENTRY_NAME.fullmatch(name):
        raise _RefusedError(Problem("spiders." + name, "this cannot be the name of a spider; use at most 64 letters, digits, - and _, begin with a letter or digit"))
    if name in raw.get("spiders", {}):
        raise _RefusedError(Problem("spiders." + name, f"there is already a spider named {name!r}; choose another name"), is_taken=True)
    if path.exists() or path.is_symlink():
        raise _RefusedError(Problem("spiders." + name, f"the file {path.parent.name}/{path.name} already exists; choose another name"), is_taken=True)
    return name, path


def _others(tables: dict[str, Any], name: str, compared: dict[str, Any]) -> Iterator[str]:
    """Yield the keys outside the table [spiders.NAME] whose values are not those of the other tables."""
    for key, value in tables.items():
        if key != "spiders" or not isinstance(value, dict):
            if compared.get(key) != value:
                yield key
            continue
        there = compared.get("spiders", {})
        yield from (f"spiders.{each}" for each, table in value.items() if each != name and (not isinstance(there, dict) or there.get(each) != table))


def _loaded(main: Path, path: Path, name: str, text: str) -> tuple[Settings | None, list[Problem]]:
    """Return the settings with the draft; None and the problems if they are not valid."""
    try:
        return load(main, drafts={path: text}), []
    except SettingsError as error:
        return None, [problem if problem.key.startswith(f"spiders.{name}") or not problem.file else Problem(problem.key, f"{problem.file}: {problem.text}")
                      for problem in error.problems]


def _remarks(settings: Settings, name: str, text: str) -> list[dict[str, Any]]:
    """Return what `pipeline check` remarks on the table of the draft."""
    alone = settings.model_copy(update={"spiders": {name: settings.spiders[name]}, "digests": {}})
    return [_shown(Problem(remark.key, f"{remark.what}{f'; {remark.fix}' if remark.fix else ''}"), text, warning=remark.suspicious)
            for remark in remarks_on(alone) if remark.key.startswith(f"spiders.{name}")]


def _shown(problem: Problem, text: str, *, warning: bool = False) -> dict[str, Any]:
    line = line_of(text, problem.key) if problem.key else line_of_error(problem.text)
    return {"key": escape_line(problem.key), "text": escape_line(problem.text), "line": line, "warning": warning}


def check_file(settings_file: str, text: str) -> dict[str, Any]:
    """Check what the settings would be with a further file of settings.d, of any tables. Returns {"lines": the problems}."""
    main = Path(settings_file)
    try:
        load(main, drafts={part_folder(main) / "draft.toml": text})
    except SettingsError as error:
        return {"lines": [escape_line(line)[:LONGEST_TEXT] for line in str(error).splitlines()[:MOST_PROBLEMS]]}
    except (RecursionError, MemoryError):
        return {"lines": ["the text is nested too deeply, or needs too much memory"]}
    return {"lines": []}


def perform(settings_file: str, text: str, spider: str | None) -> dict[str, Any]:
    """Limit the memory and the CPU time of this process, and return the result of `check`, or of `check_file` if spider is None."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return check(settings_file, text, spider) if spider is not None else check_file(settings_file, text)
