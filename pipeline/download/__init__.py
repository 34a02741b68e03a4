"""Download files: stream them to disk, store only complete files, resume interrupted downloads."""
