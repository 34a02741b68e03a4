"""How the folders and files of the web archive are named.

    archive/SPIDER/segments/NAME.warc.gz.part     what a run writes now, with NAME.cdxj.part
    archive/SPIDER/segments/NAME.warc.gz          a segment that a run has written, with its index NAME.cdxj
    archive/SPIDER/2026-11-30.warc.gz             a day file, with its index 2026-11-30.cdxj and its timestamp 2026-11-30.tsr
"""

from __future__ import annotations

from pathlib import Path

FOLDER, SEGMENTS = "archive", "segments"
WARC, INDEX, TOKEN, PART = ".warc.gz", ".cdxj", ".tsr", ".part"
"""What the names of archive files end with, and after it while they are written."""


def segments_folder(data_dir: Path, spider: str) -> Path:
    """Return the folder where runs of a spider write their segments."""
    return data_dir / FOLDER / spider / SEGMENTS


def index_of(name: str) -> str:
    """Return the name, or the key, of the index of a WARC file."""
    return f"{name.removesuffix(WARC)}{INDEX}"


def token_of(name: str) -> str:
    """Return the name, or the key, of the timestamp token of a WARC file."""
    return f"{name.removesuffix(WARC)}{TOKEN}"
