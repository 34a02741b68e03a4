"""Trusted timestamps (RFC 3161): get a token of a file's SHA-256 from a server, and verify it."""
