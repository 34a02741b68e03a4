"""Downloader middlewares of this program. pipeline/crawl/crawler.py lists them in their order."""
