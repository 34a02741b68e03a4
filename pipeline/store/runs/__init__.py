"""Slots, passes and runs, and the leases under which they are performed."""
