"""Downloaded files on disk: their names and folders, part files (partial downloads), and retention."""
