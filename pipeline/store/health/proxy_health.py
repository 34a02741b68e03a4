"""The health of a spider's proxies, as JSON without credentials in one of the session's files.

The spider's session writes the file, and the heartbeat reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Self

from sqlalchemy import Connection

from pipeline.store.database.engine import Store
from pipeline.store.session_files import PROXIES, of_spiders


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

    @classmethod
    def of(cls, data: bytes | None) -> Self:
        """Return the health recorded in the content of a file; a new PoolHealth if the content is None or malformed."""
        try:
            found = json.loads(data or b"")
            health = {str(shown): ProxyHealth(int(each["failures"]), float(each["resting_until_s"]))
                      for shown, each in found["health"].items()}
            return cls(str(found["current"]), health)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()


def pools(store: Store, connection: Connection, spiders: Iterable[str]) -> dict[str, PoolHealth]:
    """Return the health of each spider's proxies, by spider. Spiders without a recorded health are left out.

    connection: a transaction of the store.
    """
    return {spider: PoolHealth.of(data) for spider, data in of_spiders(store, connection, PROXIES, spiders).items()}
