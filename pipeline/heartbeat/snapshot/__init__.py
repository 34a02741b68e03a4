"""The status snapshot: its schema, how it is built from the store, its cache, and checks of the service itself."""
