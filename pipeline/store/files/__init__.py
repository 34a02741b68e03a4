"""Files by key, the queue of downloads, and the versions of downloaded files."""
