"""Several processes that share one pass: the leader, its followers, and the messages between them."""
