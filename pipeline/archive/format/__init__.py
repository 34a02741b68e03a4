"""The format of archive files: WARC records, what is redacted in them, and the CDXJ index."""
