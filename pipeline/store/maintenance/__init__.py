"""Backup and restore, retention, the lock that allows one service for a data_dir, and the clock check."""
