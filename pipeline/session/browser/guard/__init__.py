"""The parts of the guard proxy: connections to sites, TLS on both sides, forwarding of requests, and records of failures."""
