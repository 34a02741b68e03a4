"""What becomes of archive files after a run: rows, upload, the merging of a day's segments, timestamps, retention."""
