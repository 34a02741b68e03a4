"""The temporary folders of browsers.

Profile, files, and the start script. Those of killed processes are deleted.

A folder contains a file that the process locks as long as it uses the folder. If the file of a folder is not locked, the folder was
left by a process that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from pipeline.errors import BrowserError

FOLDER = "cache/browsers"
"""The folder in data_dir with the temporary folders of browsers."""
_PREFIX = "browser-"
_MARKER = "used"
_ELSEWHERE = "tmp-elsewhere"
_LONGEST = 60
"""The longest path of a folder for temporary files. Chromium makes a socket in it, whose path may have 107 bytes (unix(7)), or aborts."""


class Profile:
    """A temporary folder for one browser, which no other user can read."""

    def __init__(self, parent: Path) -> None:
        """Create the folder in `parent`. Raises BrowserError."""
        try:
            parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._lock = os.open(self.folder / "mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (self.folder / "mark").rename(self.folder / _MARKER)  # no other process sees the file before it is locked
            for name in ("profile", "files"):
                (self.folder / name).mkdir(mode=0o700)
            self._temporary = _temporary_folder(self.folder)
        except OSError as error:
            raise BrowserError(f"the folder for the browser cannot be created: {error.strerror}", where=str(parent), retry=True) from error

    def start_script(self, program: str) -> Path:
        """Write the script that Playwright starts instead of the browser, and return its path. See die_with_parent."""
        command = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("die_with_parent.py")), str(self.folder / "profile"), program]
        script = self.folder / "start"
        script.write_text(f"#!/bin/sh\nexec {shlex.join(command)} \"$@\"\n", "utf-8")
        script.chmod(0o700)
        return script

    def environment(self) -> dict[str, str]:
        """Return the environment of the browser: nothing of the program's secrets, and no folder but this one to write to."""
        kept = {name: value for name, value in os.environ.items()
                if name in ("PATH", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "FONTCONFIG_FILE", "FONTCONFIG_PATH") or name.startswith("LC_")}
        return {**kept, "HOME": str(self.folder), "TMPDIR": str(self._temporary)}

    def delete(self) -> None:
        """Delete the folder. The browser must have ended."""
        _delete(self.folder)
        os.close(self._lock)


def delete_left_profiles(parent: Path) -> int:
    """Delete the folders of killed processes. Return how many there were."""
    deleted = 0
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with (folder / _MARKER).open("rb+") as marker:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _delete(folder)
                deleted += 1
        except OSError:  # the folder is in use, or has just been created or deleted
            continue
    return deleted


def _temporary_folder(folder: Path) -> Path:
    """Create the folder for the temporary files of a browser, and return its path: in `folder`, or elsewhere if that path is too long."""
    inside = folder / "tmp"
    if len(os.fsencode(inside)) <= _LONGEST:
        inside.mkdir(mode=0o700)
        return inside
    short = next((path for path in (tempfile.gettempdir(), "/tmp") if len(os.fsencode(path)) <= _LONGEST - 20 and os.access(path, os.W_OK)), None)  # noqa: S108  mkdtemp is safe there
    found = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=short))
    (folder / _ELSEWHERE).symlink_to(found)
    return found


def _delete(folder: Path) -> None:
    with contextlib.suppress(OSError):  # there is none elsewhere
        shutil.rmtree((folder / _ELSEWHERE).readlink(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
