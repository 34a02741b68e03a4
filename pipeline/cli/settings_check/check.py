"""Check a settings file: validate it, and perform all checks that need no network.

They are performed on the part of the file that is valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cli.settings_check import (
    browser,
    cluster,
    contradictions,
    credentials,
    data_dir,
    language_model,
    languages,
    named_files,
    object_store,
    only_if,
    selectors,
    unknown_fields,
    user_code,
    without_effect,
)
from pipeline.cli.settings_check.remark import Remark
from pipeline.cli.settings_check.secrets import check_secrets, named_secrets
from pipeline.errors import Problem, SettingsError
from pipeline.settings import Settings, load
from pipeline.settings.files import SettingsFiles
from pipeline.settings.valid_part import load_valid_part
from pipeline.text import escape_line

_CHECKS: tuple[Callable[[Settings], Iterator[Remark]], ...] = (
    data_dir.check, object_store.check, languages.check, named_files.check, credentials.check, unknown_fields.check, selectors.check, contradictions.check, only_if.check, cluster.check, without_effect.check, user_code.check, browser.check, language_model.check)


@dataclass
class CheckedSettings:
    """The result of a check.

    file: the name of the settings file. settings: the settings; if the file has problems, the part of it that is valid; None if no part
    of the file can be read. problems: why the settings cannot be loaded. remarks: what the further checks found. secrets_left_out:
    number of secrets that were not read.
    """

    file: str
    settings: Settings | None
    problems: list[Problem]
    remarks: list[Remark] = field(default_factory=list)
    secrets_left_out: int = 0

    def lines(self) -> Iterator[str]:
        """Yield a line for each problem and each remark, with the file that contains the key."""
        for problem in self.problems:
            yield f"{escape_line(problem.file) or self.file}: {problem}"
        files = SettingsFiles(Path(self.settings.file)) if self.remarks and self.settings is not None else None
        for remark in self.remarks:
            place = files.located(Problem(remark.key, "")).file if files is not None else ""
            yield f"{escape_line(place) or self.file}: {remark}"

    @property
    def errors(self) -> int:
        return len(self.problems) + sum(not remark.suspicious for remark in self.remarks)

    @property
    def warnings(self) -> int:
        return sum(remark.suspicious for remark in self.remarks)


def check_settings(settings_file: str, *, with_secrets: bool = True) -> CheckedSettings:
    """Check a settings file. with_secrets: whether to read the secrets."""
    file = Path(settings_file).name
    try:
        settings = load(settings_file)
        problems: list[Problem] = []
        valid: Settings | None = settings
    except SettingsError as error:
        file, problems = error.file, error.problems
        valid = load_valid_part(settings_file, problems)
    if valid is None:
        return CheckedSettings(file, None, problems)
    keys = [problem.key for problem in problems]
    remarks = [remark for remark in remarks_on(valid, with_secrets=with_secrets) if not remark.follows_from(keys)]
    left_out = 0 if with_secrets else len(dict.fromkeys(secret for _, secret in named_secrets(valid)))
    return CheckedSettings(file, valid, problems, remarks, left_out)


def remarks_on(settings: Settings, *, with_secrets: bool = True) -> list[Remark]:
    """Perform all checks of valid settings, and return the remarks, sorted by key."""
    found = list(check_secrets(settings)) if with_secrets else []
    for check in _CHECKS:
        found += check(settings)
    return sorted(set(found))
