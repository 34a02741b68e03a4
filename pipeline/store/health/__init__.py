"""What the heartbeat reads from the store, and the probe that writes to it."""
