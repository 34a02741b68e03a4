"""The bundled list of public suffixes. Importing this reads it (30 ms): runs do when a cookie names a domain, a service once for all."""

from publicsuffixlist import PublicSuffixList

PUBLIC_SUFFIXES = PublicSuffixList()
