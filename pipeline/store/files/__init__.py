"""Files named by keys, the queue of downloads, and the versions of downloaded files."""
