"""Notification channels: their short texts, and the delivery of these texts."""
