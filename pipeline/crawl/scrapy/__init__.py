"""Everything that touches Scrapy's internals, one file a reason."""
