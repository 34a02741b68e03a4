"""Finds the lists in the HTML5 tree of a page.

Repeated structure, the title and the fields of its records.
"""

from pipeline.crawl.suggest.lists.proposals import html_proposals

__all__ = ["html_proposals"]
