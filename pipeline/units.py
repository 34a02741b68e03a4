"""Figures as people read them."""

from __future__ import annotations


def size_for_people(size_bytes: float) -> str:
    """Bytes in powers of 1000: 512 B, 3.1 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
