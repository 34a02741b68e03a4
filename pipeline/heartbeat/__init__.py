"""The heartbeat server: it reports status over text lines, HTTP and UDP on one port.

Import from the modules themselves: `pipeline ping` must not pay for the HTTP server.
"""
