"""Compile extraction rules (CSS, XPath, JMESPath, header, regular expression) and apply them to pages."""

from pipeline.crawl.extract.items import ExtractedItems, ItemRules, RejectedItem
from pipeline.crawl.extract.link_cleaning import without_tracking
from pipeline.crawl.extract.links import LinkRules
from pipeline.crawl.extract.rules import CompiledRule
from pipeline.crawl.extract.values import number
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = [
           "CompiledRule",
           "Document",
           "ExtractedItems",
           "ItemRules",
           "LinkRules",
           "RejectedItem",
           "RuleFailedError",
           "header_map",
           "number",
           "without_tracking",
]
