"""Slots, passes and runs, and the leases that show which process works on a row."""
