"""Return the memory of a large page to the system.

glibc keeps most of the memory that is freed. Without this, a process would stay as large as its largest page made it: by ten
times the size of the page.
"""

from __future__ import annotations

LARGE_PAGE_BYTES = 1_000_000


def return_freed_memory(page_bytes: int) -> None:
    """Call malloc_trim(3) after a page of at least LARGE_PAGE_BYTES; a C library without it is left alone."""
    if page_bytes < LARGE_PAGE_BYTES:
        return
    import ctypes  # noqa: PLC0415  1 MB, for large pages only
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
