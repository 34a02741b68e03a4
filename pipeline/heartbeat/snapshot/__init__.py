"""The status snapshot: its schema, how it is built and cached, and the health of the service itself."""
