"""The protocols of the port: text lines with their commands, HTTP detection, UDP datagrams."""
