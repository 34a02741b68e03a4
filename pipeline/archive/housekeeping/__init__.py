"""What becomes of archive files after a run: rows, upload, merged days, timestamps, retention."""
