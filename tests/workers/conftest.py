"""The fixtures of tests/crawl: runs of the spiders of a settings file, and a site for them."""

from tests.crawl.conftest import crawls, site

__all__ = ["crawls", "site"]
