"""An HTTP response as rules read it: trees and selectors for logins, expiry checks, bans and items."""

from pipeline.documents.checks import PageCheck
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = ["Document", "PageCheck", "RuleFailedError", "header_map"]
