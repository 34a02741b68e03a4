"""Crawl sites with Scrapy.

The frontier (the queue of requests) and the pages are in the store; the cookies and the proxy belong to the session.
"""
