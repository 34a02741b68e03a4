"""Crawls with Scrapy: frontier and page commits in the store, cookies, login and proxy from the session."""
