"""HTTP responses as parsed documents, and the selectors for logins, bans and items."""

from pipeline.documents.checks import PageCheck
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = ["Document", "PageCheck", "RuleFailedError", "header_map"]
