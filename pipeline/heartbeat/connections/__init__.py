"""Accepting connections: sockets, limits per address, the queue, TLS handshakes, refusals."""
