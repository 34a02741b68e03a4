"""The heartbeat server, which reports the status on one port.

Over TCP as text lines or HTTP, and over UDP.

This module imports nothing, so that `pipeline ping` can use the client without loading the HTTP server.
"""
