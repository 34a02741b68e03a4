"""The fixtures of tests/crawl: spiders of a settings file, run one after the other, and a site for them."""

from tests.crawl.conftest import crawls, site

__all__ = ["crawls", "site"]
