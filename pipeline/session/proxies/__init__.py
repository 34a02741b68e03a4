"""Proxies: their URLs in the settings, pools of several, and the selection for a session."""
