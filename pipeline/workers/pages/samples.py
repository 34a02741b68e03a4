"""Shorten the results of tasks on single pages, which are shown, stored or mailed only as samples."""

from __future__ import annotations

from pipeline.model import Json

LONGEST_TEXT = 300
_LONGEST_VALUE = 2000
_MOST_LINKS = 20


def shortened(value: Json, longest: int = LONGEST_TEXT) -> Json:
    """Return JSON data with long texts cut off."""
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}…"
    if isinstance(value, dict):
        return {name: shortened(entry, longest) for name, entry in value.items()}
    return [shortened(entry, longest) for entry in value] if isinstance(value, list) else value


def sample_of(found: dict[str, Json], most: int) -> dict[str, Json]:
    """Return the result of `try_rules` with at most `most` items and long texts cut off; "counts" has how many there were."""
    counts: dict[str, Json] = {}
    shown: dict[str, Json] = {}
    for name, value in found.items():
        if isinstance(value, list) and name in ("items", "links", "rejected"):
            counts[name] = len(value)
            shown[name] = shortened(value[:_MOST_LINKS if name == "links" else most], _LONGEST_VALUE if name == "items" else LONGEST_TEXT)
        else:
            shown[name] = shortened(value)
    return {**shown, "counts": counts}
