"""The list of public suffixes. Importing this module takes 30 ms, so it is imported only when needed."""

from publicsuffixlist import PublicSuffixList

PUBLIC_SUFFIXES = PublicSuffixList()
