"""Scrapy's scheduler over the frontier in the store, and the commit of pages."""
