"""Whether all records of an archive file are in other files, as their indexes say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

from pipeline.store import Store
from pipeline.store.files.archive_files import ArchiveFile

_PLACE = ("offset", "filename")
"""The fields of an index line that say where a record is. A merged file has the same records at other places."""


def is_covered(store: Store, index: Path, files: Sequence[ArchiveFile]) -> bool:
    """Return whether every record of an index is in one of these files. A file that does not exist, or is on another node, has none."""
    left = identities(index)
    for file in files:
        if not left:
            break
        if store.files.exists(file.key) and store.files.exists(file.index_key):
            left -= identities(store.files.local(file.index_key))
    return not left


def identities(index: Path) -> set[bytes]:
    """Return what identifies each record of an index, wherever it is stored."""
    with index.open("rb") as lines:
        return set(_identities(lines))


def _identities(lines: Iterable[bytes]) -> Iterable[bytes]:
    for line in lines:
        try:
            key, timestamp, text = line.split(b" ", 2)
            found = {name: value for name, value in json.loads(text).items() if name not in _PLACE}
        except (ValueError, AttributeError):  # damaged: a line that is in no other index
            key, timestamp, found = line, b"", {}
        yield blake2b(b"%s %s %s" % (key, timestamp, json.dumps(found, sort_keys=True).encode()), digest_size=16).digest()
