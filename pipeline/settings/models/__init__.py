"""Models of the tables of settings.toml, which cannot be changed after validation."""
