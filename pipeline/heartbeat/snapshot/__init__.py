"""The status snapshot: its schema, how it is built from the store, and its cache."""
