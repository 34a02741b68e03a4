"""[spiders.NAME.downloads]: where the files of a spider are stored, how they are fetched and how long they are kept."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.fields.path_template import PathTemplate
from pipeline.settings.fields.scalars import Duration, Size, Table


class DownloadsTable(Table):
    path: PathTemplate = "{name}"
    """Where a file lands in downloads/SPIDER, such as "{year}/{item.category}/{name}"; also {stem}, {ext}, {date},
    {month}, {day}, {host}. Each part is made a safe name."""
    link_duplicates: bool = False
    """A file whose content this spider has already is a hard link to it: the disk holds it once."""
    max_size: Size = Field(2 * 10**9, validate_default=False)
    workers: int = Field(4, ge=1, le=64)
    timeout: Duration = 60.0
    """How long a server may stay silent."""
    attempts: int = Field(4, ge=1, le=100)
    per_host: int | None = Field(None, ge=1, le=64)
    """At most so many at a time from one host."""
    max_total: Size | None = Field(None, validate_default=False)
    """Bytes of all files of one pass."""
    rate: Size | None = Field(None, validate_default=False)
    """Bytes a second, all files together."""
    versions: int = Field(0, ge=0)
    """So many are kept of a file that changes; 0: all."""
    keep_for: Duration | None = None
    """Files are deleted when the site has not had them for so long."""
    quota: Size | None = Field(None, validate_default=False)
    """The oldest files are deleted when this spider's take more; those that a digest has yet to send stay."""
