"""Render digests and alerts: subject, text and HTML."""
