"""The files of other programs that can be imported."""
