"""Downloaded files on disk: names, folders, part files (partial downloads) and retention."""
