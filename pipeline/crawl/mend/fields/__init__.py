"""Derive the new rule of one field from its known values."""
