"""Several processes that share one pass: the leader, its followers, and what they say to each other."""
