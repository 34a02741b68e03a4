"""Files, streamed to disk with requests: whole or not at all, going on where they stopped."""
