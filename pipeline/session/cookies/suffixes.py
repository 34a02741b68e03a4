"""The list of public suffixes. Importing it takes 30 ms, so that it is imported when needed."""

from publicsuffixlist import PublicSuffixList

PUBLIC_SUFFIXES = PublicSuffixList()
