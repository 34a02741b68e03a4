"""The parts of the guard proxy: connections to sites, TLS, forwarding, and records of failures."""
