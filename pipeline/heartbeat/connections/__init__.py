"""Accepts connections: listening sockets, limits per address, the queue, TLS handshakes, refusals."""
