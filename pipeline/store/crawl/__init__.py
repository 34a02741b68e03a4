"""What a crawl stores: the frontier, pages committed whole, items and their changes."""
