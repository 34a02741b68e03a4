"""The limits of the heartbeat server: connections, sizes and timeouts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """Sizes in bytes, times in seconds.

    connections: open at the same time; one more waits queue_s for a free one and is then refused. per_address:
    connections of one address of another machine; None: a quarter. handshake_s: for a TLS handshake.

    line_bytes: of one line. quiet_s: a line without its newline is answered after this much silence; request_line_s:
    after this much where it may be the beginning of an HTTP request. idle_s: silence after which a connection is
    closed; a `watch` is never idle. stalled_s: how long answers may wait for a client that does not read. drain_s: how
    long input of a refused client is still read, so that the refusal arrives. watch_every_s: between two looks of a
    `watch`.

    http_idle_s: for a whole HTTP request to arrive, and between two requests. unanswered_bytes: of requests before their
    answer. dropped_bytes: of a refused body, read so that the answer arrives; beyond it the connection is cut off.
    receive_buffer_bytes: of the kernel for each connection, which Linux doubles; questions are short.

    fresh_s: how old a shared snapshot may be. patience_s: how long the store may take to answer.

    datagrams_per_s: for each source address; datagrams_in_all_per_s: for all together. datagram_bytes: of one answer;
    1232 fits any IPv6 path (RFC 8200 section 5: 1280 less the headers).
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
