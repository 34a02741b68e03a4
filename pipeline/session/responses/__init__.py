"""Reads HTTP responses: head, framing, content codings, encoding, completeness."""
