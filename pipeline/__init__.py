"""Scheduled crawls, streamed downloads, e-mailed digests and a heartbeat that tells the truth."""

__version__ = "0.1.0"
