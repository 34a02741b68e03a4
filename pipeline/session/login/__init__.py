"""Form and API logins: fill in forms, verify the login, detect expiry, and explain failures."""
