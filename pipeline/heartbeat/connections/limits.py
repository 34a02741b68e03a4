"""The limits of the heartbeat server: connections, sizes and timeouts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """The limits of the heartbeat server; sizes are in bytes, times in seconds.

    connections: maximum number of open connections.
    per_address: maximum number of connections from one address of another machine; None means a quarter of
    `connections`.
    queue_s: how long a connection that exceeds a limit waits in the queue before the server refuses the connection.
    handshake_s: maximum duration of a TLS handshake.

    line_bytes: maximum length of a line.
    quiet_s: silence after which a line without a newline is answered.
    request_line_s: silence after which a line that may be the beginning of an HTTP request is answered.
    idle_s: silence after which a connection is closed; a connection with a running `watch` is never idle.
    stalled_s: how long answers wait for a client that does not read them, before the connection is aborted.
    drain_s: how long the server keeps reading input after it has sent its last line, so that the client receives this line.
    watch_every_s: interval at which a running `watch` compares two snapshots.

    http_idle_s: maximum time until an HTTP request has arrived completely, and maximum time between two requests.
    unanswered_bytes: while the unanswered requests of a connection are larger than this, the server stops reading.
    dropped_bytes: how much of a refused body is read and dropped, so that the client receives the response; the
    connection of a client that sends more is aborted.
    receive_buffer_bytes: size of the kernel's receive buffer for each connection, which Linux doubles.

    fresh_s: maximum age of a snapshot; requests within this time share one snapshot.
    patience_s: how long to wait for the database before the answer says that the database does not respond.

    datagrams_per_s: maximum rate of datagrams from one source address.
    datagrams_in_all_per_s: maximum rate of datagrams from all source addresses together.
    datagram_bytes: maximum size of a datagram; 1232 fits every IPv6 path (RFC 8200 section 5: 1280 minus the headers).
    """

    connections: int = 512
    per_address: int | None = None
    queue_s: float = 0.2
    handshake_s: float = 5.0
    line_bytes: int = 8192
    quiet_s: float = 0.2
    request_line_s: float = 3.0
    idle_s: float = 600.0
    stalled_s: float = 30.0
    drain_s: float = 2.0
    watch_every_s: float = 1.0
    http_idle_s: float = 15.0
    unanswered_bytes: int = 64 * 1024
    dropped_bytes: int = 1024 * 1024
    receive_buffer_bytes: int = 16 * 1024
    fresh_s: float = 0.1
    patience_s: float = 5.0
    datagrams_per_s: float = 10.0
    datagrams_in_all_per_s: float = 1000.0
    datagram_bytes: int = 1232
