"""Notifications that the service sends: the dead-man's switch and systemd."""
