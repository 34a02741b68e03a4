"""Reads HTTP responses, for pages and files alike: head, framing, content codings, encoding, completeness."""
