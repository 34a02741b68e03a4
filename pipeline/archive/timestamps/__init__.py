"""Trusted timestamps (RFC 3161): ask a timestamp server for a token of a file's SHA-256, and verify it."""
