"""The heartbeat server, which reports the status over text lines, HTTP and UDP on one port number.

This module imports nothing, so that `pipeline ping` starts without loading the HTTP server.
"""
