"""[spiders.NAME.downloads]: how files are downloaded, stored and kept."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.fields.path_template import PathTemplate
from pipeline.settings.fields.scalars import Duration, Size, Table


class DownloadsTable(Table):
    """How the files of a spider are downloaded, stored and kept."""

    path: PathTemplate = "{name}"
    """Path of a file below downloads/SPIDER. The placeholders are {name}, {stem}, {ext}, {date}, {year}, {month}, {day}, {host} and
    {item.FIELD}."""
    link_duplicates: bool = False
    """Whether a file whose content is already stored becomes a hard link, so that the content uses disk space only once."""
    max_size: Size = Field(2 * 10**9, validate_default=False)
    """Maximum size of one file."""
    workers: int = Field(4, ge=1, le=64)
    """Maximum number of files that are downloaded at the same time."""
    timeout: Duration = 60.0
    """How long to wait for a server that sends no data."""
    attempts: int = Field(4, ge=1, le=100)
    """Number of consecutive failed attempts after which a download is given up. The next pass tries to download the file again."""
    per_host: int | None = Field(None, ge=1, le=64)
    """Maximum number of files that are downloaded from one host at the same time. By default only `workers` limits the number."""
    max_total: Size | None = Field(None, validate_default=False)
    """Maximum size of all files of one pass."""
    rate: Size | None = Field(None, validate_default=False)
    """Maximum speed of all downloads together, in bytes per second."""
    versions: int = Field(0, ge=0)
    """Number of versions to keep of a file that changes; 0 keeps all versions."""
    keep_for: Duration | None = None
    """How long a file is kept after the site last offered the file. By default all files are kept forever."""
    quota: Size | None = Field(None, validate_default=False)
    """Maximum size of all files of this spider. Beyond this size the oldest files are deleted, but never a file that a digest has
    yet to send."""
