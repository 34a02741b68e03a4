"""Limits on requests: robots.txt, Retry-After, the budget of each host, SSRF protection."""
