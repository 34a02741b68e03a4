"""Values of settings.toml that have a syntax of their own: durations, schedules, templates, conditions."""
