"""Crawls with Scrapy: frontier and page commits in the store, cookies and proxy from the session."""
