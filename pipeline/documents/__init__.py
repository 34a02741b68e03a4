"""A response as rules see it: the trees and selectors that logins, expiry checks, bans and items share."""

from pipeline.documents.checks import Proof
from pipeline.documents.document import Document, header_map
from pipeline.documents.regexes import RuleFailedError

__all__ = ["Document", "Proof", "RuleFailedError", "header_map"]
