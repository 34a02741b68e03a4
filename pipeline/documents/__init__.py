"""What a site sent, as rules see it: one stack of trees and selectors for logins, walls, bans and items."""

from pipeline.documents.checks import Proof
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = ["Document", "Proof", "RuleFailedError", "header_map"]
