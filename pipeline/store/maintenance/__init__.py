"""Backup and restore, retention, the instance lock of a service, and the check of the clock."""
