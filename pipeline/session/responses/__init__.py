"""Reads HTTP responses: status line, headers, framing, content codings, encoding, and whether they are complete."""
