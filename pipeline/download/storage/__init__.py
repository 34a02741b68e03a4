"""Downloaded files on the disk: names, folders, part files and retention."""
