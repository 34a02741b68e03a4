"""What a crawl stores: the frontier of requests, committed pages, items and their changes."""
