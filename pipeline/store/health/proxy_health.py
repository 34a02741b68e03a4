"""The health of a spider's proxies, in one small JSON file without credentials.

The spider's session writes the file, and the heartbeat reads it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class ProxyHealth:
    """The recent failures of a proxy.

    failures: the number of failures in a row. resting_until_s: the proxy is not used before this time (seconds since 1970).
    """

    failures: int = 0
    resting_until_s: float = 0.0


@dataclass
class PoolHealth:
    """The health of a pool of proxies.

    current: the proxy in use, as scheme://host:port. health: maps each proxy that failed lately to its health.
    """

    current: str = ""
    health: dict[str, ProxyHealth] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def pool_file(data_dir: Path, spider: str) -> Path:
    return data_dir / "jars" / f"{spider}.proxy"


def read_pool(file: Path) -> PoolHealth:
    """Return the health recorded in the file; a new PoolHealth if the file is missing or malformed.

    Raises OSError if the file cannot be read.
    """
    try:
        found = json.loads(file.read_text("utf-8"))
        health = {str(shown): ProxyHealth(int(each["failures"]), float(each["resting_until_s"]))
                  for shown, each in found["health"].items()}
        return PoolHealth(str(found["current"]), health)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return PoolHealth()
