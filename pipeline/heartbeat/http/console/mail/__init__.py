"""The pages of mails: digests, previews, the outbox, and one message."""
