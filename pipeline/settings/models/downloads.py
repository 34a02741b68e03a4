"""[spiders.NAME.downloads]: how files are fetched, where they are stored and how long they are kept."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.fields.path_template import PathTemplate
from pipeline.settings.fields.scalars import Duration, Size, Table


class DownloadsTable(Table):
    """How the files of a spider are fetched, stored and kept."""

    path: PathTemplate = "{name}"
    """Path of a file below downloads/SPIDER, with the placeholders {name}, {stem}, {ext}, {date}, {year}, {month}, {day}, {host}
    and {item.FIELD}."""
    link_duplicates: bool = False
    """Whether a file with known content becomes a hard link, so that the disk holds the content once."""
    max_size: Size = Field(2 * 10**9, validate_default=False)
    """Largest size of one file."""
    workers: int = Field(4, ge=1, le=64)
    """Number of files that are fetched at the same time."""
    timeout: Duration = 60.0
    """How long a server may be silent."""
    attempts: int = Field(4, ge=1, le=100)
    """Number of failures in a row after which a file is given up until the next pass."""
    per_host: int | None = Field(None, ge=1, le=64)
    """Number of files that are fetched from one host at the same time."""
    max_total: Size | None = Field(None, validate_default=False)
    """Largest size of all files of one pass."""
    rate: Size | None = Field(None, validate_default=False)
    """Bytes per second, all files together."""
    versions: int = Field(0, ge=0)
    """Number of versions to keep of a file that changes; 0 keeps all."""
    keep_for: Duration | None = None
    """How long files are kept after the site last had them; forever by default."""
    quota: Size | None = Field(None, validate_default=False)
    """Limit for the files of this spider; the oldest are deleted beyond it, but none that a digest has yet to send."""
