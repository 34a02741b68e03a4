"""Crawl sites with Scrapy.

The store keeps the frontier and the pages; the session has the cookies and the proxy.
"""
