"""Limits on requests: robots.txt, Retry-After, the request budget of each host, and protection against SSRF."""
