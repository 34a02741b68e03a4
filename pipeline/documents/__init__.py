"""HTTP responses as parsed documents, to which the selectors for logins, bans and items are applied."""

from pipeline.documents.checks import PageCheck
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = ["Document", "PageCheck", "RuleFailedError", "header_map"]
