"""Check the files of the languages that the settings name."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.cli.settings_check.remark import Remark
from pipeline.errors import UsageError
from pipeline.settings import Settings


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each language whose file lacks a text or has one too many."""
    from pipeline.languages import alert_wording, reasons, wording

    used = {"alerts.language": settings.alerts.language}
    for name, digest in settings.digests.items():
        used[f"digests.{name}.language"] = digest.language
        used |= {f"digests.{name}.groups[{number}].language": group.language for number, group in enumerate(digest.groups) if group.language}
    for key, language in used.items():
        try:
            wording(language), alert_wording(language), reasons(language)
        except UsageError as error:
            yield Remark(key, error.what, error.fix)
