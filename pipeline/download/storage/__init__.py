"""Where files are written: names, folders, part files, and how long they are kept."""
