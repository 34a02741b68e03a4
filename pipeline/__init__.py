"""crawl-to-inbox: scheduled crawls, streamed downloads, digests by mail, and a status server."""

__version__ = "0.1.0"
