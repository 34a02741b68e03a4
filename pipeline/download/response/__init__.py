"""The request for a file and its response: status, headers and body."""
