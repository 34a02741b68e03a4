"""Add an import to the settings: a digest with its recipients, and a new file of settings.d."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.imports.imported import Imported
from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.settings.edit import write_part
from pipeline.settings.files import part_folder


def digest_table(imported: Imported, settings: Settings | None, to: Sequence[str]) -> dict[str, Any] | None:
    """Return the digest with all spiders of the import; None if nobody is known who would receive it.

    Its recipients are those of `to`, or else those of the import, or else those of [alerts] or of the first digest of the settings.
    """
    recipients = list(to) or imported.recipients
    if not recipients and not imported.notify and settings is not None:
        recipients = list(settings.alerts.to) or next((list(digest.to) for digest in settings.digests.values() if digest.to), [])
    if not recipients and not imported.notify:
        return None
    table: dict[str, Any] = {"spiders": [spider.name for spider in imported.spiders]}
    if recipients:
        table["to"] = recipients
    if imported.notify:
        table["notify"] = imported.notify
    return table


def write(settings: Settings, name: str, text: str) -> Path:
    """Write a new file NAME.toml to settings.d, and return its path; see `write_part`."""
    fix = "remove it, or give another name with --name"
    path = part_folder(Path(settings.file)) / f"{name}.toml"
    if path.exists():  # before its spiders are found to exist already
        raise UsageError("the file already exists and was not changed", where=str(path), fix=fix)
    return write_part(settings.file, name, text, fix=fix)
