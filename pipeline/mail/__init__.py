"""Digests and alerts by mail: rendering, the outbox and the mail transports."""
