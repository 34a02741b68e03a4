"""Reads HTTP responses: status line and headers, framing, content codings, encoding, completeness."""
