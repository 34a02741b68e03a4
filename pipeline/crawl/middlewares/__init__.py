"""Downloader middlewares of this program; crawler.py lists them in their order."""
