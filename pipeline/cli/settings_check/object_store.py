"""Check the settings of the object store: the extra that it needs, the endpoint, keys without effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.cli.settings_check.remark import Remark
from pipeline.errors import PipelineError
from pipeline.settings import Settings


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each problem. The object store is not asked."""
    table = settings.pipeline.s3
    if settings.pipeline.storage is None:
        if table.model_fields_set:
            yield Remark("pipeline.s3", "has no effect, because files are in data_dir", 'add storage = "s3://bucket/prefix" to [pipeline], or remove the table',
                         suspicious=True)
        return
    from pipeline.store.files.file_store import FOLDERS
    from pipeline.store.files.object_storage import storage_of
    from pipeline.store.files.open_files import require_extra
    try:
        require_extra()
        storage = storage_of(settings, with_keys=False)
        assert storage is not None
        _ = storage.uses_http
    except PipelineError as error:
        yield Remark(error.where or "pipeline.storage", error.what, error.fix)
    left = [name for name in FOLDERS if name != "archive" and _has_files(settings.data_dir / name)]  # the service uploads the files of the archive
    if left:
        yield Remark("pipeline.storage", f"data_dir still has files in {', '.join(left)}, which are not used any more",
                     "copy what the object store lacks, as docs/data.md says, and delete them", suspicious=True)
    if (table.access_key is None) != (table.secret_key is None):
        yield Remark("pipeline.s3", "has only one of access_key and secret_key, which belong together", "add the other one, or remove both")


def _has_files(folder: Path) -> bool:
    """Return whether a folder has other files than those that stay on the node: partial downloads and pages of failed logins."""
    return any(path.is_file() and not path.name.startswith("login-") and not any(part.startswith(".") for part in path.relative_to(folder).parts)
               for path in folder.rglob("*"))
