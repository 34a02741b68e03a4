"""A response as rules see it: trees and selectors shared by logins, expiry checks, bans and items."""

from pipeline.documents.checks import PageCheck
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = ["Document", "PageCheck", "RuleFailedError", "header_map"]
