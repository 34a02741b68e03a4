"""Return freed memory to the operating system after a large page.

glibc keeps most of the memory that a program frees. Without this module, a process would keep the memory that its largest page
needed, which is about ten times the size of the page.
"""

from __future__ import annotations

LARGE_PAGE_BYTES = 1_000_000


def return_freed_memory(page_bytes: int) -> None:
    """Call malloc_trim(3) if the page just processed had at least LARGE_PAGE_BYTES bytes.

    Do nothing if the C library has no malloc_trim.
    """
    if page_bytes < LARGE_PAGE_BYTES:
        return
    import ctypes  # noqa: PLC0415  1 MB, for large pages only
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
