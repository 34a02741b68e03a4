"""Digests and their claims, the outbox, alerts, and when logins end."""
