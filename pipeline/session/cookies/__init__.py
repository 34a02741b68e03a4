"""Cookies of one spider: the jar and its file, parsing, imports, and the cookies of the last login."""
