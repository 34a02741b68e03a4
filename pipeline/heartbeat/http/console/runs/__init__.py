"""The pages of one run: its figures, its log, and lists of what it fetched."""
