"""Form and API logins: filling in forms, verifying logins, detecting expired sessions, explaining failures."""
