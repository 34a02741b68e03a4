"""Accepting connections: sockets, limits per address, waiting, TLS handshakes, refusals."""
