"""A Scrapy scheduler that uses the frontier in the store, and the writer that commits pages."""
