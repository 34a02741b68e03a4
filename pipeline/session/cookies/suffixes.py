"""The list of public suffixes.

This module is imported only when needed, because the import takes 30 ms.
"""

from publicsuffixlist import PublicSuffixList

PUBLIC_SUFFIXES = PublicSuffixList()
