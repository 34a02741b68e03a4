"""Reads HTTP responses: status line, headers, framing, codings, encoding, and completeness."""
