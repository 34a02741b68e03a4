"""Fills in and submits login forms in a browser."""
