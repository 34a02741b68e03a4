"""Prepare the downloaded and attached files of a digest for its templates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.languages import Wording
from pipeline.mail.message.attachments import Packed
from pipeline.mail.summary import DigestSummary
from pipeline.model import StoredFile
from pipeline.text import clean_line, size_for_people


@dataclass(frozen=True)
class FileView:
    """A downloaded or attached file.

    detail: text with the size and the type of the file, and with a note whether it is attached.
    """

    name: str
    detail: str


def downloads(summary: DigestSummary, packed: Packed, words: Wording, most: int) -> list[FileView]:
    """Return the first `most` downloaded files. If there are more, a last entry says how many more."""
    views = [_download(file, packed, words) for file in summary.files[:most]]
    left = len(summary.files) - len(views)
    return [*views, FileView(words.more.format(n=left), "")] if left else views


def _download(file: StoredFile, packed: Packed, words: Wording) -> FileView:
    """Return a downloaded file under the name that it has as an attachment, if it is attached."""
    parts = [size_for_people(file.size_bytes), clean_line(file.content_type, 60)]
    number, name = packed.attached_files.get(file.id, (0, clean_line(file.name, 120)))
    total = 1 + len(packed.further)
    if number:
        parts.append(words.attached if total == 1 else words.in_part.format(n=number, total=total))
    else:
        if file.id in packed.programs:
            parts.append(words.program)
        parts.append(words.kept_at.format(key=clean_line(file.key, 160)))
    return FileView(name, _joined(parts))


def attachments(packed: Packed, words: Wording) -> list[FileView]:
    """Return the attached tables and saved pages, followed by those that were too large to attach."""
    views = [FileView(found.name, size_for_people(found.size_bytes)) for found in (*packed.tables, *packed.pages)]
    views += [FileView(left.name, _joined([size_for_people(left.size_bytes), words.not_attached,
                                           words.kept_at.format(key=left.key) if left.key else ""]))
              for left in packed.left_out]
    if packed.rows_left_out:
        views.append(FileView(words.rows_left_out.format(n=packed.rows_left_out), ""))
    return views


def _joined(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)
