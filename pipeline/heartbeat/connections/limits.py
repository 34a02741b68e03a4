"""The bounds of the heartbeat port, so that no client can take what the others need."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from pipeline.errors import UsageError

_OTHER_FILES = 256
"""Open files left to the rest of the service."""
LEAST_OPEN_FILES = 128
"""An idle service has about 30; each run, download and delivery has a few more."""
OPEN_FILES_FIX = "raise it to {}: `ulimit -n`, LimitNOFILE= of the unit, `--ulimit nofile=` of the container"


@dataclass(frozen=True)
class Limits:
    """connections: at once; beyond it a client waits door_s for a place and then reads one line that says so. line_bytes: of one line.
    per_address: connections of one address of another machine, by default a quarter. handshake_s: for a TLS handshake.

    quiet_s: a line without its newline is answered after this much silence; request_line_s: where it may be the
    beginning of an HTTP request. idle_s: silence after which a
    connection is closed (a `watch` is never idle). stalled_s: how long answers may wait for a client that
    does not read. http_idle_s: for a whole HTTP request to arrive, and between requests. unanswered_bytes: of HTTP
    requests before their answer; dropped_bytes: of a refused body, read so that the answer arrives; more is cut
    off. drain_s: what a
    refused client still sends is read for this long, so that the refusal reaches it. fresh_s: how old a snapshot
    may be when it is shared. patience_s: how long the store may take to answer. datagrams_per_s: for
    each source address; datagrams_in_all_per_s: for all together. datagram_bytes: of one answer; 1232 fits any
    IPv6 path (RFC 8200 section 5: 1280 less the headers). receive_buffer_bytes: what the kernel holds for each
    connection, doubled by Linux: a port that takes questions needs little, and reads no more than that at a time.
    """

    connections: int = 512
    per_address: int | None = None
    handshake_s: float = 5.0
    door_s: float = 0.2
    line_bytes: int = 8192
    quiet_s: float = 0.2
    request_line_s: float = 3.0
    idle_s: float = 600.0
    stalled_s: float = 30.0
    http_idle_s: float = 15.0
    unanswered_bytes: int = 64 * 1024
    dropped_bytes: int = 1024 * 1024
    receive_buffer_bytes: int = 16 * 1024
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


def open_files_for(connections: int) -> int:
    """Open files that a service wants: those it refuses have a descriptor for a moment, too."""
    return 2 * connections + _OTHER_FILES


def possible_open_files(wanted: int) -> int:
    """How many of `wanted` open files this process may have, once it raised its soft limit (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return wanted
    return min(wanted, max(soft, hard))


def raise_open_files(connections: int) -> str:
    """Raise the soft limit of open files to what `connections` want, or to the hard limit.

    Returns what is missing all the same, "" for nothing. Raises UsageError when a service cannot work at all.
    """
    wanted = open_files_for(connections)
    possible = possible_open_files(wanted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < LEAST_OPEN_FILES:
        raise UsageError(f"the limit of open files is {possible}, and the service needs {LEAST_OPEN_FILES} at least",
                         where="ulimit -n", fix=OPEN_FILES_FIX.format(wanted))
    return short_of_files(connections)


def short_of_files(connections: int) -> str:
    """What a limit of open files too low for `connections` costs, "" for nothing."""
    wanted = open_files_for(connections)
    possible = possible_open_files(wanted)
    if possible >= wanted:
        return ""
    return (f"the limit of open files is {possible}, and {wanted} are wanted: the heartbeat takes "
            f"{max(1, min(connections, possible - _OTHER_FILES))} of {connections} connections")
