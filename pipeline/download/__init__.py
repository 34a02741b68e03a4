"""Downloads: files streamed to disk, stored completely or not at all, and resumed after an interruption."""
