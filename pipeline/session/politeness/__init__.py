"""Limits on requests: robots.txt, Retry-After, the request limits of each host, and SSRF protection."""
