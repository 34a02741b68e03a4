"""From what runs found to what recipients read: digests, messages, the outbox and its transports."""
