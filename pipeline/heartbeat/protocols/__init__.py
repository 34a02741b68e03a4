"""The protocols of the heartbeat: text lines with their commands, HTTP detection, UDP datagrams."""
