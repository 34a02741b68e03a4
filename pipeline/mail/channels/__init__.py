"""Notification channels: the short texts of digests and alerts, and their delivery."""
