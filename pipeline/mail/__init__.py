"""From changes found by runs to sent mail: digests, alerts, the outbox and its transports."""
