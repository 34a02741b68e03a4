"""Queries for the heartbeat, the write probe of the database, and the health of proxies."""
