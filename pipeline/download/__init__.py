"""Download files: stream files to disk, keep only complete files, and resume interrupted downloads."""
