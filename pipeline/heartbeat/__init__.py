"""The heartbeat server, which reports the status over text lines, HTTP and UDP on one port number.

This module imports nothing, so that `pipeline ping` can use the client without loading the HTTP server.
"""
