"""Notifying external monitors: dead-man's switches and systemd."""
