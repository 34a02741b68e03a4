"""What is known of the proxies of a session's pool: one small file a spider, without credentials.

The session writes it; the heartbeat, which knows no session, reads it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class ProxyHealth:
    """failures: in a row. resting_until_s: seconds since 1970."""

    failures: int = 0
    resting_until_s: float = 0.0


@dataclass
class PoolHealth:
    """current: the proxy in use, scheme://host:port; health: of those that failed lately."""

    current: str = ""
    health: dict[str, ProxyHealth] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def pool_file(data_dir: Path, spider: str) -> Path:
    return data_dir / "jars" / f"{spider}.proxy"


def read_pool(file: Path) -> PoolHealth:
    """What earlier runs left; a file that is not understood is as good as none, since all it costs is a try.

    Raises OSError for one that cannot be read.
    """
    try:
        found = json.loads(file.read_text("utf-8"))
        health = {str(shown): ProxyHealth(int(each["failures"]), float(each["resting_until_s"]))
                  for shown, each in found["health"].items()}
        return PoolHealth(str(found["current"]), health)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return PoolHealth()
