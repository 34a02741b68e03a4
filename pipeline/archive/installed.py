"""Whether the extra `archive` is installed."""

from __future__ import annotations

from importlib.util import find_spec


def is_installed() -> bool:
    """Return whether archive files can be read and written."""
    return find_spec("warcio") is not None
