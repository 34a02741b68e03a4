"""Cookies of one spider: the jar and its file, imports, and which cookies carry the login."""
