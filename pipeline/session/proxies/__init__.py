"""Proxies: their URLs in the settings, pools of several proxies, and the selection for a session."""
