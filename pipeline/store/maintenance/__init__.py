"""Backup and restore, retention, the lock of one service on a data_dir, and trust in the clock."""
