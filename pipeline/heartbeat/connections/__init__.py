"""Accepting connections: limits per address, waiting, TLS handshakes, refusals."""
