"""Sends reports to external monitors: dead man's switches and systemd."""
