"""How requests are sent: connections, TLS contexts, and the transport adapter for requests."""
