"""The web archive: what spiders fetched, as WARC files with a CDXJ index.

The records of a run are appended to a segment. After the end of a day (UTC), the segments of a spider become the day's file. Only the
modules of this package import warcio, the extra `archive`, and only when they are used.
"""
