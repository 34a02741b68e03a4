"""Check an import, and write it to the settings."""
