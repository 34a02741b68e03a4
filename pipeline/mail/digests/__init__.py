"""Build digests: what each recipient is told, the rendered mails, and the messages for the outbox."""
