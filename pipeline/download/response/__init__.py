"""The answer to a request for a file: status, headers, body."""
