"""Writes archive files: segments of runs, files of days, and the repair of what a killed process left."""
