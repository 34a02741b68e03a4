"""The proxies of the settings, and pools of several under one name."""
