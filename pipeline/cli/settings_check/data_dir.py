"""Check that data_dir can be written, that its disk has room, and that a database's URL can be used."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.cli.settings_check.remark import Remark
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.text import size_for_people

_KEY = "pipeline.data_dir"
_FIX = "correct data_dir, or change the owner and the permissions of the folder"
_FIXES = {errno.ENOSPC: "free some disk space, or choose another disk", errno.EDQUOT: "increase the quota of the user, or choose another disk",
          errno.EROFS: "choose a folder on a disk that can be written"}
_PROBE_BYTES = 4096


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark if data_dir cannot be written. A file without a name is written for this, and disappears at once."""
    folder = settings.data_dir
    if "$" in settings.pipeline.data_dir or "%" in settings.pipeline.data_dir:
        yield Remark(_KEY, f"names of environment variables are not replaced, so the folder is {folder}", "write the path itself", suspicious=True)
    if folder.exists() and not folder.is_dir():
        yield Remark(_KEY, f"{folder} is not a folder", "choose another folder")
        return
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        yield Remark(_KEY, f"the folder {folder} cannot be created, because {nearest} is not a folder", "choose another folder")
        return
    try:
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"\0" * _PROBE_BYTES)
            probe.flush()
    except OSError as error:
        what = f"cannot write to {folder}" if nearest == folder else f"the folder {folder} cannot be created in {nearest}"
        yield Remark(_KEY, f"{what}: {(error.strerror or str(error)).lower()}", _FIXES.get(error.errno or 0, _FIX))
        return
    yield from _file_problems(folder)
    free = shutil.disk_usage(nearest).free
    if free < settings.pipeline.keep_free:
        yield Remark("pipeline.keep_free", f"the disk of data_dir has only {size_for_people(free)} free, but downloads must leave "
                     f"{size_for_people(settings.pipeline.keep_free)} free, so no file will be downloaded",
                     "free some disk space, or decrease keep_free", suspicious=True)
    yield from _database_problems(settings)


def _file_problems(folder: Path) -> Iterator[Remark]:
    """Yield a remark for each file or folder of the program in data_dir that the current user cannot write."""
    for name in ("pipeline.sqlite3", "jars", "downloads", "mail", "logs"):
        path = folder / name
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            yield Remark(_KEY, f"the current user cannot write to {path}", "run every command as the user of the service, or change the owner "
                         "of the files in data_dir")


def _database_problems(settings: Settings) -> Iterator[Remark]:
    if isinstance(settings.pipeline.database, str):
        from pipeline.store.database.engine import check_url
        try:
            check_url(settings.pipeline.database)
        except PipelineError as error:
            yield Remark("pipeline.database", error.what, error.fix)
