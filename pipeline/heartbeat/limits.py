"""The bounds of the heartbeat port, so that no client can take what the others need."""

from __future__ import annotations

import resource
from dataclasses import dataclass

_OTHER_FILES = 256
"""Open files left to the rest of the service."""


@dataclass(frozen=True)
class Limits:
    """connections: at once; beyond it a client waits door_s for a place and then reads one line that says so. line_bytes: of one line.

    quiet_s: a line without its newline is answered after this much silence; request_line_s: where it may be the
    beginning of an HTTP request. idle_s: silence after which a
    connection is closed (a `watch` is never idle). stalled_s: how long answers may wait for a client that
    does not read. http_idle_s: for a whole HTTP request to arrive, and between requests. drain_s: what a
    refused client still sends is read for this long, so that the refusal reaches it. fresh_s: how old a snapshot
    may be when it is shared. patience_s: how long the store may take to answer. datagrams_per_s: for
    each source address; datagrams_in_all_per_s: for all together. datagram_bytes: of one answer; 1232 fits any
    IPv6 path (RFC 8200 section 5: 1280 less the headers).
    """

    connections: int = 512
    door_s: float = 0.2
    line_bytes: int = 8192
    quiet_s: float = 0.2
    request_line_s: float = 3.0
    idle_s: float = 600.0
    stalled_s: float = 30.0
    http_idle_s: float = 15.0
    drain_s: float = 2.0
    watch_every_s: float = 1.0
    fresh_s: float = 0.1
    patience_s: float = 5.0
    datagrams_per_s: float = 10.0
    datagrams_in_all_per_s: float = 1000.0
    datagram_bytes: int = 1232


def affordable(connections: int) -> int:
    """`connections`, or as many as the limit of open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _OTHER_FILES))
