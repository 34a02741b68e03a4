"""crawl-to-inbox: scheduled crawls, streamed downloads, digests by mail, and a heartbeat that reports the status."""

__version__ = "0.1.0"
