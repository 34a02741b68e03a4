"""Scrapy's downloader middlewares of this program."""
