"""Crawl one pass with several processes: the leader, its followers, and the messages between them."""
