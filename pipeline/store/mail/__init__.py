"""Digests and their claims, the outbox, alerts, and the expiry of login cookies."""
