"""Schedules: APScheduler triggers, due times, claims of slots, and schedules in words."""
