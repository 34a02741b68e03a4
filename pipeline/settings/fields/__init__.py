"""Types for values of settings.toml with their own syntax: durations, schedules, conditions."""
