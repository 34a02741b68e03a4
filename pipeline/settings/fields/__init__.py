"""Values of settings.toml with their own syntax: durations, schedules, templates, conditions."""
