"""How requests are sent: connections, TLS, and the adapter of requests that uses them."""
