"""The heartbeat server: it reports status over text lines, HTTP and UDP on one port.

This package imports nothing, so that `pipeline ping` does not load the HTTP server.
"""
