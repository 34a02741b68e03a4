"""What is spoken on the port: lines, datagrams, and the detection of HTTP."""
