"""The tables of settings.toml as frozen models."""
