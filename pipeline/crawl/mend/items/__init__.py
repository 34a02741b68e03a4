"""Derive new rules for items: the elements that contain them, and the fields in them."""
