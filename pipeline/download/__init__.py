"""Download files: stream them to disk, store them completely or not at all, resume interrupted ones."""
