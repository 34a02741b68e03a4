"""The status snapshot: schema, building from the store, cache, health of the service itself."""
