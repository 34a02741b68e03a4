"""Form and API logins: fills in forms, verifies logins, detects expired sessions, explains failures."""
