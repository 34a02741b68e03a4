"""Scrapy, wired to the store: the frontier and page commits there, cookies and proxy from the session."""
