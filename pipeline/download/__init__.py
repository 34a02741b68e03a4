"""Downloads: files streamed to disk, stored completely or not at all, resumed when interrupted."""
