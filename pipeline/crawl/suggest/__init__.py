"""Proposes the table of a spider from one page.

Lists in the HTML5 tree, embedded data, feeds and sitemaps.
"""

from pipeline.crawl.suggest.proposal import Proposal
from pipeline.crawl.suggest.suggest import suggest
from pipeline.crawl.suggest.toml_text import spider_toml

__all__ = ["Proposal", "spider_toml", "suggest"]
