"""Write files atomically, with mode 0600 unless told otherwise.

Write a temporary file, fsync, then rename or link.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_PART = re.compile(r"\.pipeline-[0-9a-f]{16}\.part")


def replace_file(path: Path, data: bytes, *, like: os.stat_result | None = None, check: Callable[[], None] | None = None) -> None:
    """Replace the content of `path` with `data`; create a missing folder with mode 0700. Raises OSError.

    like: the file gets this mode and, as far as that is permitted, this owner and group. check: called just before the rename; if it
    raises an exception, nothing is replaced.
    """
    temporary = _written(path, data)
    try:
        if like is not None:
            _make_like(temporary, like)
        if check is not None:
            check()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_file(path: Path, data: bytes, *, like: os.stat_result | None = None) -> bool:
    """Create `path` with `data`. Return False and change nothing if `path` already exists. like: see replace_file. Raises OSError."""
    temporary = _written(path, data)
    try:
        if like is not None:
            _make_like(temporary, like)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = True) -> Iterator[Path]:
    """Yield where to write a file that becomes `path` when the block ends without an exception. Raises OSError, naming `path`.

    The file has no name until it is whole, so that nothing is left of it if this process is killed. Where the file system cannot do that,
    it is a part beside `path`, and the parts that killed processes have left there are deleted. A device or a pipe is written itself.
    private: whether it gets the mode 0600; otherwise that of the file that it replaces, or the usual one.
    """
    if (target := _target(path)) is None:
        yield path
        return
    part = _new_part(target.parent)
    try:
        _delete_left_parts(target.parent)
        with _open_part(part, 0o600 if private else 0o666) as (descriptor, written):
            yield written
            if not private and target.exists():
                _make_like(written, target.stat())
            os.fsync(descriptor)
            if written != part:
                _link(descriptor, part)
            os.replace(part, target)
    except OSError as error:
        if str(error.filename).startswith(("/proc/self/fd/", str(part))):
            error.filename = error.filename2 = None
        raise naming(error, path) from None
    sync_folder(target.parent)


def is_replaced(path: Path) -> bool:
    """Return whether `replacing` makes another file in place of `path`, and does not write to what is there."""
    return _target(path) is not None


def _target(path: Path) -> Path | None:
    """Return the file to replace; None for what is no file, such as /dev/stdout, and for a file in a folder in which nothing may be created.

    A link of this user or of root is followed.
    """
    folder = os.path.realpath(path.parent)
    if folder == "/dev" or f"{folder}/".startswith("/proc/"):
        return None
    try:
        if path.is_symlink() and path.lstat().st_uid in (0, os.geteuid()):
            path = Path(os.path.realpath(path))
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return path
    return path if is_file and os.access(path.parent, os.W_OK) else None


@contextlib.contextmanager
def _open_part(part: Path, mode: int) -> Iterator[tuple[int, Path]]:
    """Yield a descriptor of an empty file, which is locked as long as it is open, and its path: in /proc if it has no name. Afterwards, `part` is deleted if it exists."""
    if _has_unnamed_files(part):
        descriptor = os.open(part.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
        written = _in_proc(descriptor)
    else:
        descriptor, written = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), part
    try:
        with contextlib.suppress(OSError):  # where there are no locks, no part is ever deleted
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor, written
    finally:
        part.unlink(missing_ok=True)
        os.close(descriptor)


def _has_unnamed_files(part: Path) -> bool:
    """Return whether a file without a name can be made and can get the name `part`. Some file systems can only do the former, or neither."""
    try:
        descriptor = os.open(part.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            _link(descriptor, part)
            part.unlink()
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _link(descriptor: int, path: Path) -> None:
    """Give a file without a name a name: open(2), O_TMPFILE. With a descriptor, Python calls linkat(2), which follows the link in /proc."""
    os.link(_in_proc(descriptor), path, src_dir_fd=descriptor, follow_symlinks=True)


def _in_proc(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder inside `folder`, which is deleted afterwards. If this process is killed, the next one that writes there deletes it. Raises OSError."""
    _delete_left_parts(folder)
    own = _new_part(folder)
    own.mkdir(mode=0o700)
    descriptor = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(descriptor)


def is_part_name(name: str) -> bool:
    """Return whether a file or folder of this name is a part of `replacing`, or a scratch folder."""
    return _PART.fullmatch(name) is not None


def _new_part(folder: Path) -> Path:
    return folder / f".pipeline-{secrets.token_hex(8)}.part"


def _delete_left_parts(folder: Path) -> None:
    """Delete the parts and scratch folders in a folder that no process has locked."""
    for part in [folder / name for name in os.listdir(folder) if is_part_name(name)]:
        with contextlib.suppress(OSError):
            is_folder = stat.S_ISDIR(part.lstat().st_mode)
            descriptor = os.open(part, os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_folder:
                    shutil.rmtree(part)
                else:
                    part.unlink()
            finally:
                os.close(descriptor)


def naming(error: OSError, path: Path) -> OSError:
    """Return the error with the name of the file that could not be written: writing to a full disk raises one without a name."""
    if error.filename is None and error.errno is not None:
        error.filename = os.fspath(path)
    return error


def sync_folder(folder: Path) -> None:
    """Sync `folder` to disk, so that a rename inside it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_like(path: Path, like: os.stat_result) -> None:
    """Give a file the owner, the group and the mode of another file. An owner or group that is not permitted is left out."""
    own = path.stat()
    if own.st_gid != like.st_gid:
        with contextlib.suppress(PermissionError):
            os.chown(path, -1, like.st_gid)
    if own.st_uid != like.st_uid:
        with contextlib.suppress(PermissionError):
            os.chown(path, like.st_uid, -1)
    os.chmod(path, stat.S_IMODE(like.st_mode))


def _written(path: Path, data: bytes) -> Path:
    """Write `data` to a temporary file in the folder of `path`, sync it to disk and return its path."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise naming(error, path) from None
    return Path(name)
