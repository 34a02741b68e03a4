"""Finds, reads, shows and exports archived pages."""
