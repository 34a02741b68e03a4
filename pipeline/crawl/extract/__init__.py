"""Declared rules compiled once and applied to pages: CSS, XPath, JMESPath, headers, regular expressions."""

from pipeline.crawl.extract.items import Extracted, ItemRules, Refused
from pipeline.crawl.extract.link_cleaning import without_tracking
from pipeline.crawl.extract.links import LinkRules
from pipeline.crawl.extract.rules import Reader
from pipeline.crawl.extract.values import number
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = ["Document", "Extracted", "ItemRules", "LinkRules", "Reader", "Refused", "RuleFailedError",
           "header_map", "number", "without_tracking"]
