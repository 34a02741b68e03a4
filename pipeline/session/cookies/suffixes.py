"""The list of public suffixes. Importing this module loads it (30 ms), so that it is imported only when needed."""

from publicsuffixlist import PublicSuffixList

PUBLIC_SUFFIXES = PublicSuffixList()
