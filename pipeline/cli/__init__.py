"""The commands of `pipeline`, and what each does in the foreground."""
