"""A fingerprint of the settings, by which `pipeline doctor` sees that nodes use different settings."""

from __future__ import annotations

import hashlib
from typing import Any

from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.root import Settings

_OF_THE_NODE: dict[str, Any] = {
    "pipeline": {"data_dir", "database", "max_runs", "keep_free"}, "cluster": {"node", "queues", "worker"}, "heartbeat": True, "logs": True}
"""The settings that may differ between nodes."""


def fingerprint(settings: Settings) -> str:
    """Return 16 hexadecimal digits that are the same for equal settings.

    Secrets are left out, and so are the settings that may differ between nodes.
    """
    text = settings.model_dump_json(exclude={"file": True, **_OF_THE_NODE}, fallback=_text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: Any) -> str:
    return "" if isinstance(value, Secret) else repr(value)
