"""Form and API logins: filling in, verifying, detecting expired sessions, explaining failures."""
